// Frames through the wire: any run of an encoded object, in pieces of any size, becomes the shards it stands for.
import { zstdDecompressSync } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { zstd } from "../platform/index.ts";
import { decodeFrame, decodeFrames } from "./frame-decoder.ts";
import { storedContent, storedFrame, storedFrameBytes } from "./stored-frame.ts";

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  // The memory of a piece is used again, as sources do.
  const memory = new Uint8Array(size);
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    memory.set(piece);
    yield memory.subarray(0, piece.length);
    memory.fill(0);
  }
}

async function gathered(pieces: AsyncIterable<Uint8Array>): Promise<Buffer[]> {
  const all: Buffer[] = [];
  for await (const piece of pieces) all.push(Buffer.from(piece));
  return all;
}

describe("frames", () => {
  it("of any shards come back as they were, from any range of them", async () => {
    const shard = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 3000 }),
      fc.integer({ min: 1, max: 300_000 }).map((size) => new Uint8Array(size).fill(size)),
    );
    const level = fc.constantFrom(0, 1, 3, 9);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(shard, level), { minLength: 1, maxLength: 12 }),
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 70_000 }),
        async (made, from, length, pieceBytes) => {
          const frames = await Promise.all(
            made.map(async ([bytes, at]) =>
              at === 0 ? storedFrame(bytes) : zstd.compress(bytes, at),
            ),
          );
          const first = from % made.length;
          const count = 1 + (length % (made.length - first));
          const run = frames.slice(first, first + count);
          const shards = made.slice(first, first + count).map(([bytes]) => Buffer.from(bytes));
          let saved = 0;
          const out = await gathered(
            decodeFrames(inPieces(Buffer.concat(run), pieceBytes), {
              frameBytes: run.map((frame) => frame.length),
              shardBytes: shards.map((bytes) => bytes.length),
              onSaved: (bytes) => (saved += bytes),
            }),
          );
          expect(out).toEqual(shards);
          expect(saved).toBe(Buffer.concat(shards).length - Buffer.concat(run).length);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("that are damaged come out as bytes of the right length that are not the shard's", async () => {
    const shard = Buffer.from("a,b,c\n".repeat(5000));
    const frame = Buffer.from(await zstd.compress(shard, 1));
    frame.writeUInt8(frame.readUInt8(frame.length - 5) ^ 255, frame.length - 5);
    const decoded = await decodeFrame(frame, shard.length);
    expect(decoded).toHaveLength(shard.length);
    expect(shard.equals(decoded)).toBe(false);
  });

  it("that would give more bytes than their shard has are not unpacked", async () => {
    const bomb = await zstd.compress(new Uint8Array(50_000_000), 1);
    expect(await decodeFrame(bomb, 1000)).toEqual(new Uint8Array(1000));
  });

  it("that came whole are given before the error of the connection", async () => {
    const frames = [storedFrame(Buffer.from("one")), storedFrame(Buffer.from("two"))];
    async function* broken() {
      yield Buffer.concat(frames).subarray(0, 20);
      throw new Error("reset");
    }
    const out: string[] = [];
    const reading = (async () => {
      const asked = { frameBytes: frames.map((one) => one.length), shardBytes: [3, 3] };
      for await (const piece of decodeFrames(broken(), asked)) {
        out.push(Buffer.from(piece).toString());
      }
    })();
    await expect(reading).rejects.toThrow("reset");
    expect(out).toEqual(["one"]);
  });
});

describe("a stored frame", () => {
  it.each([1, 5, 128 * 1024, 128 * 1024 + 1, 1_000_000])("of %i bytes is zstd's", (size) => {
    const bytes = Uint8Array.from({ length: size }, (_, at) => (at * 31) % 251);
    const frame = storedFrame(bytes);
    expect(frame).toHaveLength(storedFrameBytes(size));
    expect(zstdDecompressSync(frame).equals(bytes)).toBe(true);
    expect(storedContent(frame, size)).toEqual(bytes);
  });

  it("is told from frames that zstd made, and from damage", async () => {
    const bytes = new Uint8Array(500).fill(3);
    expect(storedContent(await zstd.compress(bytes, 1), 500)).toBeUndefined();
    const frame = storedFrame(bytes);
    expect(storedContent(frame, 499)).toBeUndefined();
    frame[9] = 0;
    expect(storedContent(frame, 500)).toBeUndefined();
  });
});

import { randomBytes } from "node:crypto";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import { assert, integer, property } from "fast-check";
import { describe, expect, it } from "vitest";
import {
  compressionRatio,
  compressionSamples,
  isCompressedFormat,
  paysToCompress,
} from "./index.ts";

const MIB = 1024 * 1024;
const compress = (block: Uint8Array) =>
  zstdCompressSync(block, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }).length;

const decide = (object: Uint8Array) => {
  const samples = compressionSamples(object.length).map(({ offset, size }) =>
    object.subarray(offset, offset + size),
  );
  return paysToCompress(object.length, samples, compress);
};

const rows = (count: number) =>
  Buffer.from(
    Array.from({ length: count }, (_, at) => `${at},${(at * 7919) % 1000},label-${at % 7}\n`).join(
      "",
    ),
  );

describe("compressing an object", () => {
  it("pays for tables and logs, and for a file that is half text", () => {
    expect(decide(rows(100_000))).toBe(true);
    expect(decide(Buffer.concat([rows(50_000), randomBytes(MIB)]))).toBe(true);
  });

  it("does not pay for noise, small objects, or text that is a twentieth of the whole", () => {
    expect(decide(randomBytes(4 * MIB))).toBe(false);
    expect(decide(rows(100))).toBe(false);
    expect(decide(new Uint8Array(0))).toBe(false);
    expect(decide(Buffer.concat([randomBytes(19 * MIB), rows(50_000)]))).toBe(false);
  });

  it("is not tried where the format is compressed already, whatever follows", () => {
    const padding = new Uint8Array(MIB);
    for (const head of [
      gzipSync("x"),
      zstdCompressSync("x"),
      Buffer.from([0xff, 0xd8, 0xff, 0xe0]),
      Buffer.from("\0\0\0\x20ftypisom", "latin1"),
      Buffer.from("RIFF\0\0\0\0WEBP", "latin1"),
    ]) {
      expect(isCompressedFormat(head)).toBe(true);
      expect(decide(Buffer.concat([head, padding]))).toBe(false);
    }
    // PyTorch's checkpoints are ZIP files that store without compression.
    expect(isCompressedFormat(Buffer.from("PK\x03\x04"))).toBe(false);
    expect(isCompressedFormat(new Uint8Array(0))).toBe(false);
  });

  it("is judged by blocks that lie within the object, from its beginning to its end", () => {
    assert(
      property(integer({ min: 1, max: 2 ** 45 }), (size) => {
        const blocks = compressionSamples(size);
        const [first, last] = [blocks[0], blocks.at(-1)];
        expect(first?.offset).toBe(0);
        expect((last?.offset ?? 0) + (last?.size ?? 0)).toBe(size);
        expect(blocks.length).toBeLessThanOrEqual(16);
        for (const block of blocks) expect(block.size).toBeLessThanOrEqual(64 * 1024);
      }),
    );
  });

  it("has the ratio of all samples together", () => {
    const halves = [new Uint8Array(100), new Uint8Array(300)];
    expect(compressionRatio(halves, (block) => block.length / 4)).toBe(4);
    expect(compressionRatio([], compress)).toBe(1);
  });
});

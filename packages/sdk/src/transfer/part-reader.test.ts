import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { array, assert, asyncProperty, constantFrom, nat, oneof, record } from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeCrcs, scanTree, storedObjects } from "../artifact/index.ts";
import { blake3Hex, crc32 } from "../platform/index.ts";
import { createBase } from "../delta/index.ts";
import { type ArtifactManifest, ArtifactId, decodeValue } from "../protocol/index.ts";
import { noise, writeTree } from "../testing/index.ts";
import type { HeldObject } from "./held-parts.ts";
import { MatchingReader } from "./matching-reader.ts";
import { type PartFeed, PartReader, type ReadPart } from "./part-reader.ts";
import { CombinedCrc32, ShardHasher, crc32Base64 } from "./shard-hasher.ts";
import { type TreeLayout, partRule } from "./upload-plan.ts";

const signal = new AbortController().signal;
const MIB = 1024 * 1024;
/** Above this, files are read by handle. */
const BIG = 256 * 1024;
const ARTIFACT = decodeValue(ArtifactId, "a".repeat(64), "id");

type Files = Readonly<Record<string, Uint8Array>>;

async function withTree<T>(files: Files, use: (root: string) => Promise<T>): Promise<T> {
  const root = mkdtempSync(join(tmpdir(), "waybill-parts-"));
  try {
    return await use(writeTree(root, files));
  } finally {
    rmSync(root, { recursive: true });
  }
}

async function layoutOf(root: string, packed: boolean, shardBytes: number, bytes: number) {
  const scan = await scanTree(root);
  const kind: TreeLayout["layout"] = packed ? "packed" : "plain";
  const objects = storedObjects(kind, scan.files);
  const layout = { layout: kind, shardBytes, objects, rule: partRule(MIB, bytes) };
  return { scan, layout };
}

/** Reads everything, two parts at a time as the runner does. */
async function readAll(feed: PartFeed, wantedBytes = 5 * MIB) {
  const parts: (ReadPart & { readonly bytes?: Buffer })[] = [];
  for (;;) {
    const wanted = { bytes: wantedBytes };
    const pair = [feed.next(wanted, signal), feed.next(wanted, signal)];
    for (const part of await Promise.all(pair)) {
      if (part === undefined) return parts;
      const bytes = part.body === undefined ? {} : { bytes: Buffer.from(part.body.bytes) };
      parts.push({ ...part, ...bytes });
      part.body?.release();
    }
  }
}

function manifestOf(layout: TreeLayout, feed: PartFeed): ArtifactManifest {
  const { layout: kind, shardBytes } = layout;
  return {
    format: 1,
    name: "t" as ArtifactManifest["name"],
    layout: kind,
    shardBytes,
    files: feed.files(),
  };
}

describe("a reader of parts", () => {
  it("reads every byte once, in order, whatever the sizes of files, parts and shards", async () => {
    const size = oneof(constantFrom(0, 1, 7000, BIG, BIG + 1, 1_500_000), nat(30_000));
    const shape = record({
      sizes: array(size, { minLength: 1, maxLength: 8 }),
      big: constantFrom(0, 9 * MIB + 3),
      packed: constantFrom(true, false),
      shardBytes: constantFrom(1024, 4096, 700_000, MIB),
      matching: constantFrom(true, false),
    });
    await assert(
      asyncProperty(shape, async ({ sizes, big, packed, shardBytes, matching }) => {
        const content = [...sizes, big].map((bytes, at) => noise(bytes, at + 1));
        const files = Object.fromEntries(content.map((bytes, at) => [`f${at}`, bytes]));
        await withTree(files, async (root) => {
          const { scan, layout } = await layoutOf(root, packed, shardBytes, 0);
          const held = new Map<string, HeldObject>();
          const other: ArtifactManifest = {
            ...manifestOf(layout, new PartReader({ scan, layout, held })),
            files: [],
          };
          const bases = { bases: [createBase(ARTIFACT, other)] };
          const feed = matching
            ? new MatchingReader({ scan, layout, held, bases })
            : new PartReader({ scan, layout, held });
          const parts = await readAll(feed);
          await feed.close();
          for (const { bytes = Buffer.alloc(0), crc32: sum } of parts) {
            expect(sum).toBe(crc32Base64(crc32(bytes)));
          }
          const sent = Buffer.concat(parts.map(({ bytes }) => bytes ?? Buffer.alloc(0)));
          expect(sent.equals(Buffer.concat(content))).toBe(true);
          const shards = content.map((bytes) =>
            Array.from({ length: Math.ceil(bytes.length / shardBytes) }, (_, shard) =>
              bytes.subarray(shard * shardBytes, (shard + 1) * shardBytes),
            ),
          );
          const read = feed.files();
          expect(read.map((file) => file.shards)).toEqual(
            shards.map((list) => list.map((shard) => blake3Hex(shard))),
          );
          expect(read.map(({ crcs }) => [...decodeCrcs(crcs ?? "")])).toEqual(
            shards.map((list) => list.map((shard) => crc32(shard))),
          );
        });
      }),
      { numRuns: 30 },
    );
  });

  it("I2: skips what is held, and sends again only what is held otherwise", async () => {
    const content = noise(23 * MIB);
    await withTree({ "x.bin": content }, async (root) => {
      const { scan, layout } = await layoutOf(root, false, MIB, 0);
      const crcOf = (from: number, to: number) =>
        crc32Base64(crc32(content.subarray(from * MIB, to * MIB)));
      const parts = new Map([
        [1, { size: 7 * MIB, crc32: crcOf(0, 7) }],
        [8, { size: 6 * MIB, crc32: "other+==" }],
        [19, { size: 5 * MIB, crc32: crcOf(18, 23) }],
      ]);
      const held = new Map([["x.bin", { joined: false, parts }]]);
      const read = await readAll(new PartReader({ scan, layout, held }));
      expect(read.map(({ part, size, held: is = false }) => [part, size / MIB, is])).toEqual([
        [1, 7, true],
        [8, 6, false],
        [14, 5, false],
        [19, 5, true],
      ]);
    });
  });

  it("reads a part again as it was, and notices when it is not", async () => {
    await withTree({ a: noise(3000, 1), b: noise(9 * MIB, 2) }, async (root) => {
      const { scan, layout } = await layoutOf(root, true, MIB, 0);
      const feed = new PartReader({ scan, layout, held: new Map() });
      const [first, second] = await readAll(feed);
      if (first?.bytes === undefined || second?.bytes === undefined) throw new Error("no parts");
      for (const part of [second, first]) {
        const { body } = await feed.again(part, signal);
        expect(Buffer.from(body?.bytes ?? []).equals(part.bytes ?? Buffer.alloc(1))).toBe(true);
        body?.release();
      }
      writeTree(root, { b: noise(9 * MIB, 3) });
      await expect(feed.again(second, signal)).rejects.toMatchObject({ code: "source_changed" });
    });
  });
});

describe("a reader that compares", () => {
  const old = noise(40 * MIB, 5);

  /** How the parts of a changed tree come, and the bytes that would be sent. */
  async function compare(
    before: Files,
    after: Files,
    options: { packed?: boolean; twin?: boolean } = {},
  ) {
    const { packed = false, twin = false } = options;
    const base = await withTree(before, async (root) => {
      const { scan, layout } = await layoutOf(root, packed, MIB, 0);
      const feed = new PartReader({ scan, layout, held: new Map() });
      await readAll(feed);
      return createBase(ARTIFACT, manifestOf(layout, feed));
    });
    return withTree(after, async (root) => {
      const { scan, layout } = await layoutOf(root, packed, MIB, 0);
      const bases = { bases: [base], ...(twin ? { twin: base } : {}) };
      const feed = new MatchingReader({ scan, layout, held: new Map(), bases });
      const parts = await readAll(feed);
      const whole = packed ? Buffer.concat(Object.values(after)) : undefined;
      const source = packed ? Buffer.concat(Object.values(before)) : undefined;
      for (const { key, from, offset, size, crc32: sum } of parts) {
        const now = (whole ?? after[key])?.subarray(offset, offset + size) ?? new Uint8Array(0);
        expect(sum).toBe(crc32Base64(crc32(now)));
        if (from === undefined) continue;
        const then = (source ?? before[from.key])?.subarray(from.start, from.start + size);
        expect(Buffer.from(now).equals(Buffer.from(then ?? []))).toBe(true);
      }
      const sent = parts.reduce((sum, { from, size }) => sum + (from === undefined ? size : 0), 0);
      return { parts, sent, twin: feed.twin };
    });
  }

  it("sends little of a file that was changed in place or shifted", async () => {
    const changed = Uint8Array.from(old);
    changed.set(noise(400_000, 8), 20 * MIB);
    expect((await compare({ x: old }, { x: changed })).sent).toBe(5 * MIB);
    const shifted = new Uint8Array(41 * MIB);
    shifted.set(noise(MIB, 9));
    shifted.set(old, MIB);
    expect((await compare({ x: old }, { x: shifted })).sent).toBe(5 * MIB);
    const odd = new Uint8Array(40 * MIB + 1000);
    odd.set(noise(1000, 9));
    odd.set(old, 1000);
    expect((await compare({ x: old }, { x: odd })).sent).toBeLessThanOrEqual(6 * MIB);
  });

  it("finds files that were renamed, small ones in a pack too", async () => {
    const moved = await compare({ x: old, y: noise(BIG, 2) }, { z: old, "y/y": noise(BIG, 2) });
    expect(moved.sent).toBe(0);
    const pack = Object.fromEntries(
      Array.from({ length: 60 }, (_, at) => [`f${at + 10}`, noise(BIG, at)]),
    );
    const { sent } = await compare(pack, { ...pack, f99: noise(5000, 99) }, { packed: true });
    expect(sent).toBeLessThan(6 * MIB);
  });

  it("says so while everything equals an artifact in place, and keeps nothing in memory", async () => {
    const same = await compare({ x: old, y: noise(10) }, { x: old, y: noise(10) }, { twin: true });
    expect(same.twin).toBe(ARTIFACT);
    expect(same.parts.every(({ body }) => body === undefined)).toBe(true);
    const other = Uint8Array.from(old);
    other[39 * MIB] = 255 - (other[39 * MIB] ?? 0);
    const changed = await compare(
      { x: old, y: noise(10) },
      { x: other, y: noise(10) },
      { twin: true },
    );
    expect(changed.twin).toBe(undefined);
    expect(changed.sent).toBeLessThanOrEqual(7 * MIB);
  });
});

describe("a CRC-32 of pieces", () => {
  it("is that of the whole", () => {
    const bytes = noise(3_000_000);
    for (const piece of [1000, 40_000, MIB]) {
      const sum = new CombinedCrc32();
      for (let at = 0; at < bytes.length; at += piece) {
        const part = bytes.subarray(at, at + piece);
        sum.add(part, crc32(part));
      }
      expect(sum.value).toBe(crc32(bytes));
    }
  });
});

describe("a hasher of shards", () => {
  it("cuts pieces that know nothing of shards", () => {
    const bytes = noise(10_000);
    const hasher = new ShardHasher(1, 1024);
    for (let at = 0, step = 1; at < bytes.length; at += step, step = (step * 7) % 3001) {
      hasher.take(0, at, bytes.subarray(at, at + step), bytes.length);
    }
    const whole = new ShardHasher(1, 1024);
    whole.take(0, 0, bytes, bytes.length);
    expect(hasher.digests(0)).toEqual(whole.digests(0));
    expect(whole.digests(0)[9]).toBe(blake3Hex(bytes.subarray(9216)));
  });
});

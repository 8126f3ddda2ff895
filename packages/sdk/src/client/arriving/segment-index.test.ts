// Which shards can be read of an artifact that is arriving.
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { ShardMap } from "../../artifact/index.ts";
import { ArtifactManifest, type Layout } from "../../protocol/index.ts";
import { SegmentIndex } from "./segment-index.ts";

const KIB = 1024;
const UNIT = 4 * KIB;

function mapOf(layout: Layout, files: Readonly<Record<string, number>>): ShardMap {
  const digest = "0".repeat(64);
  const manifest = v.parse(ArtifactManifest, {
    format: 1,
    name: "tree",
    layout,
    shardBytes: KIB,
    files: Object.entries(files).map(([path, size]) => ({
      path,
      size,
      shards: Array.from({ length: Math.ceil(size / KIB) }, () => digest),
    })),
  });
  return new ShardMap(manifest);
}

const plain = mapOf("plain", { a: 10 * KIB, b: 0, c: 3 * KIB + 5 });

describe("a segment index", () => {
  it("knows the shards of whole objects and of segments that have landed", () => {
    const objects = [
      { key: "a", segments: [{ part: 2, size: 4 * KIB }] },
      { key: "c", segments: [{ part: 0, size: 3 * KIB + 5 }] },
    ];
    const index = new SegmentIndex(plain, objects, UNIT);
    expect(index.shards().runs()).toEqual([
      { first: 4, count: 4 },
      { first: 10, count: 4 },
    ]);
  });

  it("has no shard of which a byte is missing", () => {
    const short = [{ key: "a", segments: [{ part: 1, size: 4 * KIB - 1 }] }];
    const index = new SegmentIndex(plain, short, UNIT);
    expect(index.shards().runs()).toEqual([{ first: 0, count: 3 }]);
    expect(() => index.pieces({ key: "a", start: 3 * KIB, size: KIB })).toThrow(/has not landed/);
  });

  it("has shards that lie in several segments of a packed object", () => {
    // Files of a KiB and a half: every second file's first shard begins in the middle of a KiB.
    const files = Object.fromEntries(["a", "b", "c", "d", "e", "f"].map((path) => [path, 1536]));
    const packed = mapOf("packed", files);
    const objects = [
      {
        key: "pack.bin",
        segments: [
          { part: 2, size: 4 * KIB },
          { part: 1, size: 4 * KIB },
        ],
      },
    ];
    const index = new SegmentIndex(packed, objects, UNIT);
    expect(index.shards().runs()).toEqual([{ first: 0, count: 10 }]);
    const across = index.pieces({ key: "pack.bin", start: 4000, size: 200 });
    expect(across).toMatchObject([
      { segment: { part: 1 }, offset: 4000, size: 96 },
      { segment: { part: 2 }, offset: 0, size: 104 },
    ]);
  });

  it("reads as few segments as it can where they overlap", () => {
    const segments = [
      { part: 1, size: 4 * KIB },
      { part: 1, size: 8 * KIB },
      { part: 2, size: 6 * KIB },
    ];
    const index = new SegmentIndex(plain, [{ key: "a", segments }], UNIT);
    expect(index.shards().runs()).toEqual([{ first: 0, count: 10 }]);
    const pieces = index.pieces({ key: "a", start: 0, size: 10 * KIB });
    expect(pieces.map(({ offset, size }) => [offset, size])).toEqual([
      [0, 8 * KIB],
      [4 * KIB, 2 * KIB],
    ]);
  });

  it("places segments of encoded objects by the shards that their frames stand for", () => {
    // Shards of the pack begin at 0, 1024, 1536, 2560, 3072, 4096, 4608, 5632, 6144, …
    const files = Object.fromEntries(["a", "b", "c", "d", "e", "f"].map((path) => [path, 1536]));
    const packed = mapOf("packed", files);
    const segments = [{ part: 2, size: 99, plainBytes: 2560 }];
    const index = new SegmentIndex(packed, [{ key: "pack.bin.zst", segments }], 4500);
    expect(index.shards().runs()).toEqual([{ first: 6, count: 3 }]);
    const [piece] = index.pieces({ key: "pack.bin", start: 5632, size: 512 });
    expect(piece).toMatchObject({
      segment: { key: "pack.bin.zst", start: 4608, size: 2560, storedBytes: 99, firstShard: 6 },
      offset: 1024,
      size: 512,
    });
    expect(new SegmentIndex(plain, [{ key: "none.zst", segments }], UNIT).shards().isEmpty).toBe(
      true,
    );
  });

  it("has nothing of what it is not told", () => {
    expect(new SegmentIndex(plain, [], UNIT).shards().isEmpty).toBe(true);
  });
});

import { describe, expect, it } from "vitest";
import type { ArtifactRecord } from "../protocol/index.ts";
import { ShardIndex, chooseBases } from "./index.ts";
import { baseOf, noise } from "./match.fixture.ts";

const MIB = 1024 * 1024;

function record(name: string, day: number, extra: Partial<ArtifactRecord> = {}): ArtifactRecord {
  return {
    artifact: String(day).padStart(64, "0") as ArtifactRecord["artifact"],
    name: name as ArtifactRecord["name"],
    kind: "dataset",
    layout: "plain",
    files: 1,
    bytes: 100,
    manifestBytes: 1000,
    s3Path: "bucket/prefix/",
    createdAt: new Date(Date.UTC(2026, 0, day)).toISOString(),
    ...extra,
  };
}

const days = (records: readonly ArtifactRecord[]) =>
  records.map(({ createdAt }) => new Date(createdAt).getUTCDate());

describe("the bases of a push", () => {
  it("are the versions of its name from the newest, then the others from the newest", () => {
    const room = [record("x", 1), record("y", 4), record("x", 3), record("z", 2)];
    expect(days(chooseBases(room, "x"))).toEqual([3, 1, 4, 2]);
  });

  it("are at most 16, without empty ones", () => {
    const room = Array.from({ length: 28 }, (_, at) => record("x", at + 1));
    const empty = record("x", 30, { bytes: 0 });
    expect(days(chooseBases([...room, empty], "x"))).toEqual(
      Array.from({ length: 16 }, (_, at) => 28 - at),
    );
  });

  it("have at most 32 MiB of manifests: one too large makes room for the next", () => {
    const sizes = [10 * MIB, 20 * MIB, 10 * MIB, MIB];
    const room = sizes.map((manifestBytes, at) => record("x", 20 - at, { manifestBytes }));
    expect(days(chooseBases(room, "x"))).toEqual([20, 19, 17]);
  });
});

describe("an index of shards", () => {
  const tree = { a: noise(1000, 1), b: noise(700, 2) };

  it("finds every shard of every base by its digest, and no other", () => {
    const bases = [baseOf(tree, 256), baseOf({ c: noise(2000, 3) }, 256, "packed")];
    const index = new ShardIndex(bases);
    for (const [base, { map }] of bases.entries()) {
      for (let shard = 0; shard < map.count; shard++) {
        expect(index.find(map.locate(shard).digest)).toEqual({ base, shard });
      }
    }
    expect(index.find("0".repeat(64))).toBe(undefined);
  });

  it("prefers the first base, and the first of equal shards", () => {
    const zeros = { z: new Uint8Array(256 * 1000) };
    const index = new ShardIndex([baseOf(zeros, 256), baseOf({ a: tree.a, ...zeros }, 256)]);
    const [digest] = index.bases[0]?.manifest.files[0]?.shards ?? [];
    expect(index.find(digest ?? "")).toEqual({ base: 0, shard: 0 });
    expect(index.fileAt("z")).toEqual({ base: 0, file: 0 });
    expect(index.fileAt("a")).toEqual({ base: 1, file: 0 });
    expect(index.fileAt("b")).toBe(undefined);
  });

  it("rolls for full shards of the windows' size only", () => {
    const bases = [baseOf(tree, 256), baseOf({ c: noise(2048, 4) }, 512)];
    expect(new ShardIndex(bases).weak.count).toBe(3 + 2);
    expect(new ShardIndex(bases, { windowBytes: 512 }).weak.count).toBe(4);
    expect(new ShardIndex([]).weak.count).toBe(0);
  });
});

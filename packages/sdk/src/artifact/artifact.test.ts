import { readFileSync } from "node:fs";
import { assert, integer, array, property, record, constantFrom } from "fast-check";
import { describe, expect, it } from "vitest";
import { ArtifactManifest, type Digest, MANIFEST_KEY, decodeValue } from "../protocol/index.ts";
import {
  ShardMap,
  artifactId,
  assertSafePath,
  canonicalPieces,
  chooseShardBytes,
  comparePaths,
  decodeManifest,
  findCollisions,
  manifestPieces,
  planLayout,
  shardCount,
  storedObjects,
} from "./index.ts";

type Vectors = {
  readonly manifests: readonly {
    readonly title: string;
    readonly manifest: unknown;
    readonly canonical: string;
    readonly id: string;
    readonly stored: string;
  }[];
  readonly unsafePaths: readonly string[];
  readonly safePaths: readonly string[];
  readonly shards: readonly { size: number; shardBytes: number; shards: number }[];
};

const vectors = JSON.parse(
  readFileSync(new URL("../../../../docs/protocol/vectors/artifact.json", import.meta.url), "utf8"),
) as Vectors;

const text = (pieces: Iterable<Uint8Array>) => Buffer.concat([...pieces]).toString("utf8");
const digest = (seed: number) => seed.toString(16).padStart(64, "0") as Digest;

function manifestOf(
  sizes: readonly number[],
  layout: "plain" | "packed" = "packed",
  shardBytes = 1024,
): ArtifactManifest {
  let seed = 1;
  const files = sizes.map((size, at) => ({
    path: `f${String(at).padStart(4, "0")}`,
    size,
    shards: Array.from({ length: shardCount(size, shardBytes) }, () => digest(seed++)),
  }));
  const manifest = { format: 1, name: "test", layout, shardBytes, files };
  return decodeValue(ArtifactManifest, manifest, "manifest");
}

describe("a manifest", () => {
  it.each(vectors.manifests)("has the published bytes and id: $title", (vector) => {
    const manifest = decodeValue(ArtifactManifest, vector.manifest, "vector");
    expect(text(canonicalPieces(manifest))).toBe(vector.canonical);
    expect(artifactId(manifest)).toBe(vector.id);
    expect(text(manifestPieces(manifest))).toBe(vector.stored);
    expect(decodeManifest(vector.stored, artifactId(manifest))).toEqual(manifest);
  });

  it("has an id that depends on neither its name nor its layout, but on every file", () => {
    const manifest = manifestOf([10, 2000]);
    const id = artifactId(manifest);
    const renamed = decodeValue(ArtifactManifest, { ...manifest, name: "x", layout: "plain" }, "m");
    expect(artifactId(renamed)).toBe(id);
    const [first, second] = manifest.files;
    const swapped = { ...manifest, files: [{ ...first, executable: true }, second] };
    expect(artifactId(decodeValue(ArtifactManifest, swapped, "m"))).not.toBe(id);
  });

  it("is refused when its id is not the one asked for", () => {
    const other = artifactId(manifestOf([1]));
    const stored = text(manifestPieces(manifestOf([2])));
    expect(() => decodeManifest(stored, other)).toThrow(
      expect.objectContaining({ code: "digest_mismatch" }),
    );
  });

  const change = (edit: (files: Record<string, unknown>[]) => unknown[], layout = "plain") => {
    const manifest = { ...manifestOf([10, 2000, 3]), layout };
    return JSON.stringify({
      ...manifest,
      files: edit(manifest.files.map((file) => ({ ...file }))),
    });
  };

  it.each([
    ["a path twice", change(([a, , c]) => [a, { ...a }, c]), "unsafe_path"],
    ["paths out of order", change((files) => files.toReversed()), "unsafe_path"],
    ["a path that leaves", change(([, b]) => [{ ...b, path: "../x" }]), "unsafe_path"],
    [
      "a file that is a folder too",
      change(([a, , c]) => [
        { ...a, path: "a" },
        { ...c, path: "a/b" },
      ]),
      "unsafe_path",
    ],
    [
      "a file that is a folder too, with another between",
      change(([a, , c]) => [
        { ...a, path: "a" },
        { ...c, path: "a-b" },
        { ...c, path: "a/b" },
      ]),
      "unsafe_path",
    ],
    [
      "its own name as a plain file",
      change(([a]) => [{ ...a, path: MANIFEST_KEY }]),
      "unsafe_path",
    ],
    ["too few shards", change(([, b]) => [{ ...b, shards: [] }]), "invalid_request"],
    ["too many shards", change(([a]) => [{ ...a, size: 0 }]), "invalid_request"],
    ["no JSON", "{", "invalid_request"],
  ])("is refused with %s", (_, stored, code) => {
    expect(() => decodeManifest(stored)).toThrow(expect.objectContaining({ code }));
  });
});

describe("a path", () => {
  it.each(vectors.unsafePaths)("is refused: %j", (path) => {
    expect(() => assertSafePath(path)).toThrow(expect.objectContaining({ code: "unsafe_path" }));
  });

  it.each(vectors.safePaths)("is taken: %j", (path) => {
    expect(() => assertSafePath(path)).not.toThrow();
  });

  it("that is not well-formed Unicode is refused", () => {
    expect(() => assertSafePath("a\ud800")).toThrow("not valid Unicode");
  });

  it("is ordered as its UTF-8 bytes are", () => {
    const unit = constantFrom("a", "b", "/", "é", "\ud7ff", "\ue000", "\uffee", "😀", "𐀀");
    const path = array(unit, { maxLength: 6 });
    assert(
      property(path, path, (a, b) => {
        const bytes = Buffer.compare(Buffer.from(a.join("")), Buffer.from(b.join("")));
        expect(Math.sign(comparePaths(a.join(""), b.join("")))).toBe(bytes);
      }),
    );
  });

  it("collides with another that differs in case or normalisation only", () => {
    expect(findCollisions(["A.txt", "a.txt", "b", "caf\u00e9", "cafe\u0301"])).toEqual([
      ["A.txt", "a.txt"],
      ["caf\u00e9", "cafe\u0301"],
    ]);
  });
});

describe("a layout", () => {
  const files = (count: number, size: number) =>
    Array.from({ length: count }, (_, at) => ({ path: `f${at}`, size }));
  const MIB = 1024 * 1024;

  it.each([
    ["a few big files", files(10, 100 * MIB), "plain"],
    ["a few small files", files(64, 10), "plain"],
    ["more than 64 small files", files(65, 10), "packed"],
    ["many files of 1 MiB", files(1000, MIB), "plain"],
    ["more files than objects are allowed", files(1001, 10 * MIB), "packed"],
    ["a file with the manifest's name", [{ path: MANIFEST_KEY, size: 1 }], "packed"],
    [
      "a file with the manifest's name in a folder",
      [{ path: "x/artifact.json", size: 1 }],
      "plain",
    ],
  ])("of %s", (_, list, layout) => {
    expect(planLayout(list)).toBe(layout);
  });

  it("stores plain files one by one and packed ones end to end", () => {
    expect(storedObjects("plain", files(2, 7))).toEqual([
      { key: "f0", size: 7 },
      { key: "f1", size: 7 },
    ]);
    expect(storedObjects("packed", files(2, 7))).toEqual([{ key: "pack.bin", size: 14 }]);
  });

  it("doubles its shards for huge files, not for many files", () => {
    expect(chooseShardBytes(files(200_000, 1000))).toBe(MIB);
    expect(chooseShardBytes(files(1, 64 * 1024 * MIB))).toBe(MIB);
    expect(chooseShardBytes(files(1, 65 * 1024 * MIB))).toBe(2 * MIB);
  });

  it.each(vectors.shards)("cuts $size bytes into $shards shards of $shardBytes", (vector) => {
    expect(shardCount(vector.size, vector.shardBytes)).toBe(vector.shards);
  });
});

describe("a map of shards", () => {
  const sizes = array(integer({ min: 0, max: 5000 }), { minLength: 1, maxLength: 20 });

  it("places every byte of every file once, in order, in both layouts", () => {
    assert(
      property(sizes, constantFrom("plain" as const, "packed" as const), (list, layout) => {
        const map = new ShardMap(manifestOf(list, layout));
        let position = 0;
        const perFile = list.map(() => 0);
        for (let shard = 0; shard < map.count; shard++) {
          const place = map.locate(shard);
          expect(place.offset).toBe(perFile[place.file]);
          expect(map.position(shard)).toBe(position);
          expect(place.digest).toBe(digest(shard + 1));
          perFile[place.file] = place.offset + place.size;
          position += place.size;
          const range = map.rangeOf({ first: shard, count: 1 });
          const inFile = { key: map.file(place.file).path, start: place.offset, size: place.size };
          const inPack = { key: "pack.bin", start: position - place.size, size: place.size };
          expect(range).toEqual(layout === "plain" ? inFile : inPack);
        }
        expect(perFile).toEqual(list);
        expect(position).toBe(map.bytes);
      }),
    );
  });

  it("gives a run's range as far as its object goes", () => {
    assert(
      property(record({ list: sizes, from: integer({ min: 0, max: 100 }) }), ({ list, from }) => {
        const map = new ShardMap(manifestOf([...list, 1], "plain"));
        const first = from % map.count;
        const count = map.objectEnd(first) - first;
        const { size } = map.rangeOf({ first, count });
        expect(size).toBe(map.bytesOf({ first, count }));
        const beyond = { first, count: count + 1 };
        expect(() => map.rangeOf(beyond)).toThrow("not in one object");
      }),
    );
  });
});

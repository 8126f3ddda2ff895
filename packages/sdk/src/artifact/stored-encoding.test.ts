import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { array, assert, integer, maxSafeNat, property, record, uint8Array } from "fast-check";
import { describe, expect, it } from "vitest";
import { ArtifactManifest, decodeValue } from "../protocol/index.ts";
import { blake3Hex } from "../platform/index.ts";
import {
  ShardMap,
  artifactId,
  decodeCrcs,
  decodeManifest,
  decodeVarints,
  describeEncoding,
  encodeCrcs,
  encodeVarints,
  encodedKey,
  manifestObjects,
  manifestPieces,
  maxFrameBytes,
  storedObjects,
  unencodablePaths,
} from "./index.ts";

type Vectors = {
  readonly varints: readonly { values: number[]; base64: string }[];
  readonly badVarints: readonly { why: string; base64: string }[];
};

const vectors = JSON.parse(
  readFileSync(new URL("../../../../docs/protocol/vectors/artifact.json", import.meta.url), "utf8"),
) as Vectors;

const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, "base64"));
const refused = (code: string) => expect.objectContaining({ code });
const SHARD = 1024;

/** A tree of one text per size, in a layout, with the files of `encode` (or the pack) stored as zstd frames. */
function encodedTree(
  sizes: readonly number[],
  layout: "plain" | "packed",
  encode: readonly number[],
) {
  const bodies = sizes.map((size, at) => Buffer.alloc(size, `line ${at},`));
  const cut = (body: Buffer) =>
    Array.from({ length: Math.ceil(body.length / SHARD) }, (_, shard) =>
      body.subarray(shard * SHARD, (shard + 1) * SHARD),
    );
  const files = bodies.map((body, at) => ({
    path: `f${String(at).padStart(3, "0")}`,
    size: body.length,
    shards: cut(body).map((shard) => blake3Hex(shard)),
  }));
  const objects = new Map<string, Buffer>();
  const stored: Record<string, unknown> = {};
  const add = (key: string, plain: readonly Buffer[], isEncoded: boolean) => {
    const frames = plain.flatMap(cut).map((shard) => zstdCompressSync(shard));
    if (!isEncoded || frames.length === 0) return objects.set(key, Buffer.concat([...plain]));
    stored[encodedKey(key)] = describeEncoding(
      key,
      frames.map((frame) => frame.length),
    );
    return objects.set(encodedKey(key), Buffer.concat(frames));
  };
  if (layout === "packed") add("pack.bin", bodies, encode.length > 0);
  else
    for (const [at, body] of bodies.entries())
      add(`f${String(at).padStart(3, "0")}`, [body], encode.includes(at));
  const manifest = { format: 1, name: "t", layout, shardBytes: SHARD, files, stored };
  return { manifest: decodeValue(ArtifactManifest, manifest, "manifest"), bodies, objects };
}

const tree = record({
  sizes: array(integer({ min: 0, max: 5000 }), { minLength: 1, maxLength: 8 }),
  encode: array(integer({ min: 0, max: 7 }), { maxLength: 8 }),
});

describe("an encoded object", () => {
  it.each(["plain", "packed"] as const)(
    "of a %s artifact gives any run of shards from one range, frame by frame",
    (layout) => {
      assert(
        property(tree, ({ sizes, encode }) => {
          const { manifest, bodies, objects } = encodedTree(sizes, layout, encode);
          const map = new ShardMap(manifest);
          const plain = Buffer.concat(bodies);
          for (let first = 0; first < map.count; first++) {
            const run = { first, count: map.objectEnd(first) - first };
            const { key, start, size, encoded } = map.rangeOf(run);
            expect(map.storedBytesOf(run)).toBe(size);
            const bytes = objects.get(key)?.subarray(start, start + size) ?? Buffer.alloc(0);
            const frames = encoded?.frameBytes ?? [bytes.length];
            let at = 0;
            const decoded = frames.map((frame) => {
              const piece = bytes.subarray(at, (at += frame));
              return encoded === undefined ? piece : zstdDecompressSync(piece);
            });
            const wanted = plain.subarray(
              map.position(first),
              map.position(first) + map.bytesOf(run),
            );
            expect(Buffer.concat(decoded).equals(wanted)).toBe(true);
          }
        }),
        { numRuns: 30 },
      );
    },
  );

  it("is read whole by plain zstd", ({ skip }) => {
    const { manifest, bodies, objects } = encodedTree([5000, 100], "packed", [0]);
    const [object] = manifestObjects(manifest);
    expect(object).toMatchObject({ key: "pack.bin.zst", size: 5100, encoding: "zstd" });
    const stored = objects.get("pack.bin.zst") ?? Buffer.alloc(0);
    expect(object?.storedBytes).toBe(stored.length);
    const zstd = spawnSync("zstd", ["-d", "-c"], { input: stored });
    skip(zstd.error !== undefined, "there is no zstd command");
    expect(zstd.stdout.equals(Buffer.concat(bodies))).toBe(true);
  });

  it("changes nothing of the id, nor do modes and CRC-32s, and comes back from the stored text", () => {
    const crcs = array(integer({ min: 0, max: 2 ** 32 - 1 }), { minLength: 10, maxLength: 10 });
    assert(
      property(tree, crcs, integer({ min: 0, max: 0o777 }), ({ sizes, encode }, sums, bits) => {
        const { manifest } = encodedTree(sizes, "plain", encode);
        const files = manifest.files.map((file) => ({
          ...file,
          mode: bits & ~0o100,
          crcs: encodeCrcs(sums.slice(0, file.shards.length)),
        }));
        const full = decodeValue(ArtifactManifest, { ...manifest, files }, "manifest");
        const { stored: _, ...bare } = manifest;
        expect(artifactId(full)).toBe(artifactId(bare));
        const text = Buffer.concat([...manifestPieces(full)]).toString("utf8");
        const back = decodeManifest(text, artifactId(bare));
        expect({ stored: {}, ...back }).toEqual(full);
      }),
      { numRuns: 30 },
    );
  });

  it("is planned under its own key, unless it is empty", () => {
    const files = [
      { path: "a", size: 5 },
      { path: "b", size: 0 },
      { path: "c", size: 7 },
    ];
    expect(storedObjects("plain", files, (key) => key !== "c")).toEqual([
      { key: "a.zst", size: 5, encoding: "zstd" },
      { key: "b", size: 0 },
      { key: "c", size: 7 },
    ]);
  });

  it("is not made where its key is another file's, a folder, or too long", () => {
    const long = "é".repeat(449);
    const paths = ["a", "a.zst", "b", "b.zst/x", "c", long];
    expect([...unencodablePaths(paths)]).toEqual(["a", "b", long]);
  });

  const change = (edit: (stored: Record<string, Record<string, unknown>>) => unknown) => {
    const { manifest } = encodedTree([3000, 10], "plain", [0]);
    const stored = structuredClone(manifest.stored) as Record<string, Record<string, unknown>>;
    return JSON.stringify({ ...manifest, stored: edit(stored) });
  };

  it.each([
    ["another key than its plain one's", change((s) => ({ "x.zst": s["f000.zst"] }))],
    ["no such object", change(() => ({ "x.zst": describeEncoding("x", [20]) }))],
    ["too few frames", change(() => ({ "f000.zst": describeEncoding("f000", [20, 20]) }))],
    ["a frame of nothing", change(() => ({ "f000.zst": describeEncoding("f000", [20, 0, 20]) }))],
    [
      "a frame beyond what a shard can need",
      change(() => ({ "f000.zst": describeEncoding("f000", [20, maxFrameBytes(SHARD) + 1, 20]) })),
    ],
    [
      "frames that are no numbers",
      change((s) => ({ "f000.zst": { ...s["f000.zst"], frames: "gA==" } })),
    ],
  ])("is refused with %s", (_, text) => {
    expect(() => decodeManifest(text)).toThrow(refused("invalid_request"));
  });
});

describe("a file's mode and CRC-32s", () => {
  const change = (extra: Record<string, unknown>) => {
    const { manifest } = encodedTree([3000], "plain", []);
    return JSON.stringify({
      ...manifest,
      files: manifest.files.map((file) => ({ ...file, ...extra })),
    });
  };

  it.each([
    ["a mode that says executable where the id does not", { mode: 0o755 }],
    ["a mode that denies what the id says", { mode: 0o644, executable: true }],
    ["a mode with more than permissions", { mode: 0o4644 }],
    ["too few sums", { crcs: encodeCrcs([1, 2]) }],
    ["sums that are not base64", { crcs: "!".repeat(16) }],
  ])("are refused: %s", (_, extra) => {
    expect(() => decodeManifest(change(extra))).toThrow(refused("invalid_request"));
  });

  it("come back as they were written", () => {
    expect([...decodeCrcs(encodeCrcs([0, 1, 0xffffffff]))]).toEqual([0, 1, 0xffffffff]);
  });
});

describe("a list of lengths", () => {
  it.each(vectors.varints)("has the published bytes: $values", ({ values, base64 }) => {
    expect(Buffer.from(encodeVarints(values)).toString("base64")).toBe(base64);
    expect(decodeVarints(bytesOf(base64))).toEqual(values);
  });

  it.each(vectors.badVarints)("is refused: $why", ({ base64 }) => {
    const text = JSON.stringify({
      ...encodedTree([10], "plain", []).manifest,
      stored: { "f000.zst": { encoding: "zstd", of: "f000", frames: base64 } },
    });
    expect(() => decodeManifest(text)).toThrow(refused("invalid_request"));
  });

  it("comes back whatever the numbers, and any bytes decode to what encodes to them or are refused", () => {
    assert(
      property(array(maxSafeNat()), (values) => {
        expect(decodeVarints(encodeVarints(values))).toEqual(values);
      }),
    );
    assert(
      property(uint8Array({ maxLength: 20 }), (bytes) => {
        let values: number[];
        try {
          values = decodeVarints(bytes);
        } catch {
          return;
        }
        expect(encodeVarints(values)).toEqual(bytes);
      }),
    );
  });
});

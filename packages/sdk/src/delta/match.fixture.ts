// Trees as bytes, their manifests, and what a match stream makes of them, for tests.
import { encodeCrcs, shardCount } from "../artifact/index.ts";
import { blake3Hex, crc32 } from "../platform/index.ts";
import type { ArtifactId, ArtifactManifest, Digest, Layout } from "../protocol/index.ts";
import { type Base, type MatchedRange, MatchStream, ShardIndex, createBase } from "./index.ts";
import { continues } from "./match-stream.ts";

export type Tree = Readonly<Record<string, Uint8Array>>;

/** Bytes without a pattern, the same for each seed. */
export function noise(length: number, seed: number): Uint8Array {
  let state = (seed * 2654435761) | 1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  });
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

export function baseOf(tree: Tree, shardBytes: number, layout: Layout = "plain"): Base {
  const files = Object.entries(tree).map(([path, body]) => {
    const shards = Array.from({ length: shardCount(body.length, shardBytes) }, (_, shard) =>
      body.subarray(shard * shardBytes, (shard + 1) * shardBytes),
    );
    const crcs = encodeCrcs(shards.map((shard) => crc32(shard)));
    return {
      path,
      size: body.length,
      shards: shards.map((shard) => blake3Hex(shard) as Digest),
      crcs,
    };
  });
  // Shards far below the format's least make small trees interesting: no decoding here.
  const manifest = { format: 1, name: "base", layout, shardBytes, files } as ArtifactManifest;
  return createBase("0".repeat(64) as ArtifactId, manifest);
}

export type Matching = {
  readonly ranges: readonly MatchedRange[];
  readonly counters: MatchStream["counters"];
  /** Bytes that no base has. */
  readonly newBytes: number;
};

/** Matches a tree, handing in pieces of these sizes in turn. */
export function matchTree(
  tree: Tree,
  bases: readonly Base[],
  options: { pieces?: readonly number[]; knowsDigests?: boolean } = {},
): Matching {
  const index = new ShardIndex(bases);
  const stream = new MatchStream(index);
  const pieces = options.pieces ?? [index.windowBytes * 8];
  const ranges: MatchedRange[] = [];
  let turn = 0;
  for (const [path, body] of Object.entries(tree)) {
    const size = index.windowBytes;
    const digestOf = (shard: number) => blake3Hex(body.subarray(shard * size, (shard + 1) * size));
    const file = { path, size: body.length };
    stream.beginFile(options.knowsDigests === true ? { ...file, digestOf } : file);
    for (let at = 0; at < body.length;) {
      const piece = body.slice(at, at + (pieces[turn++ % pieces.length] ?? 1));
      for (const range of stream.take(piece)) {
        const before = ranges.at(-1);
        const joins = at > 0 && before !== undefined && continues(before, range.from);
        if (joins) ranges[ranges.length - 1] = { ...before, size: before.size + range.size };
        else ranges.push(range);
      }
      // Its memory is the caller's again.
      piece.fill(0xee);
      at += piece.length;
    }
  }
  const unknown = ranges.filter((range) => range.from === undefined);
  const newBytes = unknown.reduce((sum, range) => sum + range.size, 0);
  return { ranges, counters: stream.counters, newBytes };
}

/** The tree's bytes end to end, put together from the bases where ranges say so; checks that ranges are in order. */
export function rebuild(
  ranges: readonly MatchedRange[],
  tree: Tree,
  bases: readonly { readonly tree: Tree; readonly layout: Layout }[],
): Uint8Array {
  const all = concat(...Object.values(tree));
  let decided = 0;
  const parts = ranges.map(({ start, size, from }) => {
    if (start !== decided || size <= 0) throw new Error(`range at ${start}, not ${decided}`);
    decided += size;
    if (from === undefined) return all.subarray(start, start + size);
    const base = bases[from.base];
    const body =
      base?.layout === "packed" ? concat(...Object.values(base.tree)) : base?.tree[from.key];
    return body?.subarray(from.offset, from.offset + size) ?? new Uint8Array(0);
  });
  return concat(...parts);
}

/** A base from before there were `crcs`. */
export function withoutCrcs(base: Base): Base {
  const files = base.manifest.files.map(({ crcs: _, ...file }) => file);
  return createBase(base.artifact, { ...base.manifest, files });
}

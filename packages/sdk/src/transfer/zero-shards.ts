// Shards that hold nothing but zeros, known by their digest: sparse files stay sparse, and no zero travels.
import type { ShardMap } from "../artifact/index.ts";
import { blake3Hex } from "../platform/index.ts";
import { ShardSet } from "./shard-set.ts";

/** Whole shards of zeros in files of several shards. The last shard of a file, which may be shorter, is left out. */
export function zeroShards(map: ShardMap): ShardSet {
  const { files, shardBytes } = map.manifest;
  let digest: string | undefined;
  const runs = files.flatMap(({ shards }, index) => {
    if (shards.length < 2) return [];
    digest ??= blake3Hex(new Uint8Array(shardBytes));
    const { first } = map.shardsOf(index);
    return shards.flatMap((own, at) => (own === digest ? [{ first: first + at, count: 1 }] : []));
  });
  return ShardSet.of(runs);
}

// Shards that hold nothing but zeros, known by their digest: sparse files stay sparse, and no zero travels.
import type { ShardMap } from "../artifact/index.ts";
import { blake3Hex, files } from "../platform/index.ts";
import { checkShards } from "./local-tree-source.ts";
import { ShardSet } from "./shard-set.ts";
import type { TreeKeeper } from "./tree-keeper.ts";

/** Whole shards of zeros in files of several shards. The last shard of a file, which may be shorter, is left out. */
function zeroShards(map: ShardMap): ShardSet {
  const { shardBytes } = map.manifest;
  let digest: string | undefined;
  const runs = map.manifest.files.flatMap(({ shards }, index) => {
    if (shards.length < 2) return [];
    digest ??= blake3Hex(new Uint8Array(shardBytes));
    const { first } = map.shardsOf(index);
    return shards.flatMap((own, at) => (own === digest ? [{ first: first + at, count: 1 }] : []));
  });
  return ShardSet.of(runs);
}

/**
 * Keeps the shards of zeros that are not there, and gives them. In a file that is begun now they are holes. What an
 * earlier pull left is a file that anything may have been written to since: it is checked, and put right.
 */
export async function layZeros(
  map: ShardMap,
  keeper: TreeKeeper,
  done: ShardSet,
  signal?: AbortSignal,
): Promise<ShardSet> {
  const zeros = zeroShards(map).minus(done);
  for (let run = zeros.firstRun(); run !== undefined;) {
    const file = map.fileOf(run.first);
    const whole = map.shardsOf(file);
    const own = zeros.intersect(ShardSet.of([whole]));
    const right = await zerosIn(map, keeper.partPath(file), own, {
      first: whole.first,
      signal,
    });
    for (const each of right.runs()) await keeper.resume(each);
    for (const each of own.minus(right).runs()) {
      for (let shard = each.first; shard < each.first + each.count; shard++) {
        signal?.throwIfAborted();
        const one = { first: shard, count: 1 };
        await keeper.keep(one, new Uint8Array(map.bytesOf(one)));
      }
    }
    run = zeros.firstRun(whole.first + whole.count);
  }
  return zeros;
}

/** Which of a file's shards of zeros need not be written. */
async function zerosIn(
  map: ShardMap,
  part: string,
  own: ShardSet,
  { first, signal }: { readonly first: number; readonly signal: AbortSignal | undefined },
): Promise<ShardSet> {
  const facts = files.lookAt(part);
  if (facts === undefined) return own;
  // What lies behind the end becomes a hole when the file gets its length.
  const count = Math.ceil(facts.size / map.manifest.shardBytes);
  const inside = own.intersect(ShardSet.of([{ first, count }]));
  const right = await checkShards(map, part, inside.runs(), signal);
  return own.minus(inside).union(right);
}

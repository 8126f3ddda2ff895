// An artifact in memory as a source, which notes what it is asked for.
import { ShardMap, type ShardRun } from "../artifact/index.ts";
import type { Tree } from "../delta/match.fixture.ts";
import type { ArtifactManifest } from "../protocol/index.ts";
import { ShardSet } from "./shard-set.ts";
import type { Source } from "./source.ts";

export type Held = {
  readonly map: ShardMap;
  readonly source: Source;
  /** Bytes it was asked for since the last call. */
  readonly askedBytes: () => number;
};

export function heldInMemory(tree: Tree, manifest: ArtifactManifest): Held {
  const map = new ShardMap(manifest);
  const asked: ShardRun[] = [];
  const whole = Buffer.concat(manifest.files.map(({ path }) => tree[path] ?? new Uint8Array()));
  const source: Source = {
    id: "memory",
    kind: "peer",
    cost: "paid",
    window: 2,
    shards: () => ShardSet.all(map.count),
    fetch: async function* (run) {
      asked.push(run);
      const start = map.position(run.first);
      yield whole.subarray(start, start + map.bytesOf(run));
    },
  };
  const askedBytes = () => asked.splice(0).reduce((sum, run) => sum + map.bytesOf(run), 0);
  return { map, source, askedBytes };
}

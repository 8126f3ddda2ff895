// A tree while it is being pulled, for those who read what is there already: which shards have matched (I1), where
// their bytes lie, and which of the others somebody waits for, so that they are fetched first.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { files } from "../platform/index.ts";
import type { ArtifactId } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import { ShardSet } from "./shard-set.ts";
import type { Urgency } from "./download-runner.ts";

export type GrowingTreeInit = {
  readonly artifact: ArtifactId;
  readonly map: ShardMap;
  /** Where the bytes of a file lie: until it is whole, and from then on. */
  readonly paths: (file: number) => readonly [part: string, whole: string];
};

type Waiter = { readonly shard: number; readonly resolve: () => void };

export class GrowingTree implements Urgency {
  readonly artifact: ArtifactId;
  readonly map: ShardMap;
  readonly #paths: GrowingTreeInit["paths"];
  readonly #waiters = new Set<Waiter>();
  readonly #wants = new Set<ShardRun>();
  readonly #listeners = new Set<() => void>();
  #done = ShardSet.empty;

  constructor({ artifact, map, paths }: GrowingTreeInit) {
    this.artifact = artifact;
    this.map = map;
    this.#paths = paths;
  }

  /** Shards that have matched, and whose bytes are where `paths` says. */
  get done(): ShardSet {
    return this.#done;
  }

  /** Where the bytes of a file lie: until it is whole, and from then on. It moves at any moment. */
  paths(file: number): readonly [part: string, whole: string] {
    return this.#paths(file);
  }

  /** Resolves when a shard has matched; rejects with the signal's reason. */
  async until(shard: number, signal: AbortSignal): Promise<void> {
    if (this.#done.has(shard)) return;
    if (signal.aborted) throw abortReason(signal);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { shard, resolve };
    const onAbort = () => reject(abortReason(signal));
    this.#waiters.add(waiter);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      this.#waiters.delete(waiter);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Has a run fetched before others; gives what takes that back. */
  want(run: ShardRun): () => void {
    if (ShardSet.of([run]).minus(this.#done).isEmpty) return () => {};
    this.#wants.add(run);
    this.#tell();
    return () => {
      if (this.#wants.delete(run)) this.#tell();
    };
  }

  /** Shards that are wanted before others. */
  urgent(): ShardSet {
    return ShardSet.of(this.#wants);
  }

  onUrgent(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The pull's: these shards have matched and are written. */
  add(shards: ShardSet): void {
    this.#done = this.#done.union(shards);
    for (const waiter of this.#waiters) if (this.#done.has(waiter.shard)) waiter.resolve();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Where a pull into `dir` puts the bytes of a file. */
export function pullPaths(
  map: ShardMap,
  dir: string,
  partPath: (file: number) => string,
): GrowingTreeInit["paths"] {
  return (file) => [partPath(file), files.join(dir, map.file(file).path)];
}

// Which shards the pushing machine may be asked for, by whatever route (docs/protocol/arriving.md §4, rule 24, and §8).
//
//   artifact   ├── landed: from the store ──┼── the push is here ──▶ …   ◀── from the machine itself ──┤
//
// What has landed is not asked of it, and the rest from its end on: where push and reader share the machine's uplink,
// no byte leaves it twice before the reader has them all. While the upload is held back there is no such race.
import type { ShardMap, ShardRun } from "../../artifact/index.ts";
import { ShardSet } from "../../transfer/index.ts";
import type { ArrivingFeed } from "./arriving-feed.ts";
import { SegmentIndex } from "./segment-index.ts";

/** Offered at once, so that requests can be long; or a quarter of what is left. */
const OFFER_BYTES = 32 * 1024 * 1024;

export class DirectOffer {
  readonly #map: ShardMap;
  readonly #feed: Pick<ArrivingFeed, "account" | "onChange">;
  readonly #listeners = new Set<() => void>();
  readonly #unsubscribe: () => void;
  /** Shards the store has, and those that were asked for here. */
  #landed = ShardSet.empty;
  #asked = ShardSet.empty;
  #shards = ShardSet.empty;

  constructor(map: ShardMap, feed: Pick<ArrivingFeed, "account" | "onChange">) {
    this.#map = map;
    this.#feed = feed;
    this.#unsubscribe = feed.onChange(() => this.#note());
    this.#note();
  }

  get shards(): ShardSet {
    return this.#shards;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A run is on its way: it stays offered, and is not counted among what is left. */
  asked(run: ShardRun): void {
    this.#asked = this.#asked.with(run);
    this.#offer();
  }

  /** A run that was asked for did not come. */
  missed(run: ShardRun): void {
    this.#asked = this.#asked.without(run);
    this.#offer();
  }

  close(): void {
    this.#unsubscribe();
  }

  /** Takes notice of what has landed. */
  #note(): void {
    const { objects, unitBytes, done } = this.#feed.account;
    this.#landed = done
      ? ShardSet.all(this.#map.count)
      : new SegmentIndex(this.#map, objects, unitBytes).shards();
    this.#offer();
  }

  #offer(): void {
    this.#shards = this.#next();
    for (const listener of this.#listeners) listener();
  }

  /** The end of what has neither landed nor been asked for, and what was asked for: it is on its way. */
  #next(): ShardSet {
    const all = ShardSet.all(this.#map.count);
    if (this.#feed.account.held) return all;
    const open = all.minus(this.#landed).minus(this.#asked);
    const runs = open.runs();
    const count = runs.reduce((sum, run) => sum + run.count, 0);
    const wanted = Math.max(Math.ceil(OFFER_BYTES / this.#map.manifest.shardBytes), count / 4);
    let offer = this.#asked;
    let left = Math.ceil(wanted);
    for (const { first, count: size } of runs.toReversed()) {
      const taken = Math.min(size, left);
      offer = offer.with({ first: first + size - taken, count: taken });
      left -= taken;
      if (left === 0) break;
    }
    return offer;
  }
}

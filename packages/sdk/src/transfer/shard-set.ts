// An immutable set of shard numbers as ascending runs: small whatever the artifact's size, because
// transfers progress in runs.
import type { ShardRun } from "../artifact/index.ts";

/** Bounds [start, end) one after the other, ascending, never touching. */
type Bounds = readonly number[];

export class ShardSet {
  readonly #bounds: Bounds;

  private constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  /** The set without shards; a getter, because TypeScript 7.0 emits static fields that name their class wrongly. */
  static get empty(): ShardSet {
    return new ShardSet([]);
  }

  /** 0 … count - 1. */
  static all(count: number): ShardSet {
    return ShardSet.empty.with({ first: 0, count });
  }

  static of(runs: Iterable<ShardRun>): ShardSet {
    let set = ShardSet.empty;
    for (const run of runs) set = set.with(run);
    return set;
  }

  get isEmpty(): boolean {
    return this.#bounds.length === 0;
  }

  /** Number of shards in the set. */
  get size(): number {
    return this.runs().reduce((sum, run) => sum + run.count, 0);
  }

  has(shard: number): boolean {
    return this.#countBelow(shard + 1) % 2 === 1;
  }

  with({ first, count }: ShardRun): ShardSet {
    return count === 0 ? this : this.#replace(first, first + count, true);
  }

  without({ first, count }: ShardRun): ShardSet {
    return count === 0 ? this : this.#replace(first, first + count, false);
  }

  runs(): ShardRun[] {
    const runs: ShardRun[] = [];
    for (let at = 0; at < this.#bounds.length; at += 2) {
      const first = this.#bounds[at] ?? 0;
      runs.push({ first, count: (this.#bounds[at + 1] ?? first) - first });
    }
    return runs;
  }

  union(other: ShardSet): ShardSet {
    return this.#complement().intersect(other.#complement()).#complement();
  }

  minus(other: ShardSet): ShardSet {
    return this.intersect(other.#complement());
  }

  intersect(other: ShardSet): ShardSet {
    const result: number[] = [];
    const a = this.#bounds;
    const b = other.#bounds;
    for (let i = 0, j = 0; i < a.length && j < b.length;) {
      const start = Math.max(a[i] ?? 0, b[j] ?? 0);
      const endA = a[i + 1] ?? 0;
      const endB = b[j + 1] ?? 0;
      if (start < Math.min(endA, endB)) result.push(start, Math.min(endA, endB));
      if (endA < endB) i += 2;
      else j += 2;
    }
    return new ShardSet(result);
  }

  /** The first run of shards in the set, at or after `from`. */
  firstRun(from = 0): ShardRun | undefined {
    const at = this.#countBelow(from + 1);
    // Odd: `from` is inside a run. Even: the next run begins at this bound.
    const start = at % 2 === 1 ? from : this.#bounds[at];
    const end = this.#bounds[at % 2 === 1 ? at : at + 1];
    return start === undefined || end === undefined
      ? undefined
      : { first: start, count: end - start };
  }

  /** Every other number from 0 to infinity. */
  #complement(): ShardSet {
    const [start] = this.#bounds;
    const end = this.#bounds.at(-1);
    return new ShardSet([
      ...(start === 0 ? [] : [0]),
      ...this.#bounds.slice(start === 0 ? 1 : 0, end === Infinity ? -1 : undefined),
      ...(end === Infinity ? [] : [Infinity]),
    ]);
  }

  /** Number of bounds below a shard number. */
  #countBelow(shard: number): number {
    let low = 0;
    let high = this.#bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#bounds[middle] ?? 0) < shard) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * The set with [start, end) made present or absent. The bounds from `start` to `end` go; an even number
   * of bounds before (or behind) means that side is outside a run, so adding needs a bound there and
   * removing does not, and the other way round. Runs that touch are joined because touching bounds go.
   */
  #replace(start: number, end: number, present: boolean): ShardSet {
    const before = this.#countBelow(start);
    const through = this.#countBelow(end + 1);
    const outside = present ? 0 : 1;
    return new ShardSet([
      ...this.#bounds.slice(0, before),
      ...(before % 2 === outside ? [start] : []),
      ...(through % 2 === outside ? [end] : []),
      ...this.#bounds.slice(through),
    ]);
  }
}

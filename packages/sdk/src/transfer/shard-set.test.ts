import { array, assert, boolean, nat, property, record } from "fast-check";
import { describe, expect, it } from "vitest";
import { ShardSet } from "./shard-set.ts";

const runs = array(record({ first: nat(60), count: nat(12), add: boolean() }), {
  maxLength: 40,
});

function build(edits: readonly { first: number; count: number; add: boolean }[]) {
  let set = ShardSet.empty;
  const naive = new Set<number>();
  for (const { first, count, add } of edits) {
    set = add ? set.with({ first, count }) : set.without({ first, count });
    for (let at = first; at < first + count; at++) {
      if (add) naive.add(at);
      else naive.delete(at);
    }
  }
  return { set, naive };
}

const numbers = (set: ShardSet) =>
  set.runs().flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at));
const ascending = (set: Set<number>) => [...set].sort((a, b) => a - b);

describe("a set of shards", () => {
  it("holds what a plain set of numbers holds after any edits, in runs that do not touch", () => {
    assert(
      property(runs, (edits) => {
        const { set, naive } = build(edits);
        expect(numbers(set)).toEqual(ascending(naive));
        expect(set.size).toBe(naive.size);
        expect(set.isEmpty).toBe(naive.size === 0);
        for (let at = 0; at < 75; at++) expect(set.has(at)).toBe(naive.has(at));
        const bounds = set.runs();
        for (const [index, run] of bounds.entries()) {
          const next = bounds[index + 1]?.first ?? Infinity;
          expect(next).toBeGreaterThan(run.first + run.count);
        }
      }),
    );
  });

  it("unites, subtracts and intersects as plain sets do", () => {
    assert(
      property(runs, runs, (one, other) => {
        const a = build(one);
        const b = build(other);
        expect(numbers(a.set.union(b.set))).toEqual(ascending(new Set([...a.naive, ...b.naive])));
        expect(numbers(a.set.minus(b.set))).toEqual(
          [...a.naive].filter((at) => !b.naive.has(at)).sort((x, y) => x - y),
        );
        expect(numbers(a.set.intersect(b.set))).toEqual(
          [...a.naive].filter((at) => b.naive.has(at)).sort((x, y) => x - y),
        );
      }),
    );
  });

  it("finds the first run at or after a number", () => {
    assert(
      property(runs, nat(75), (edits, from) => {
        const { set, naive } = build(edits);
        const first = ascending(naive).find((at) => at >= from);
        expect(set.firstRun(from)?.first).toBe(first);
        const run = set.firstRun(from);
        expect(naive.has((run?.first ?? 0) + (run?.count ?? 1000))).toBe(false);
      }),
    );
  });
});

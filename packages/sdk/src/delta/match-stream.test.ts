import { array, assert, constantFrom, integer, oneof, property, record } from "fast-check";
import { describe, expect, it } from "vitest";
import { MatchStream, ShardIndex } from "./index.ts";
import {
  type Tree,
  baseOf,
  concat,
  matchTree,
  noise,
  rebuild,
  withoutCrcs,
} from "./match.fixture.ts";

const W = 256;
const KIND = ["plain", "packed"] as const;

type Edit = {
  readonly kind: "insert" | "delete" | "overwrite" | "move" | "duplicate" | "zeros";
  readonly at: number;
  readonly size: number;
  readonly to: number;
};

function edit(body: Uint8Array, { kind, at, size, to }: Edit, seed: number): Uint8Array {
  const from = Math.floor(at * body.length);
  const end = Math.min(body.length, from + size);
  const [head, middle, tail] = [
    body.subarray(0, from),
    body.subarray(from, end),
    body.subarray(end),
  ];
  const rest = concat(head, tail);
  const target = Math.floor(to * rest.length);
  switch (kind) {
    case "insert":
      return concat(head, noise(size, seed), middle, tail);
    case "delete":
      return rest;
    case "overwrite":
      return concat(head, noise(middle.length, seed), tail);
    case "zeros":
      return concat(head, new Uint8Array(size), middle, tail);
    case "duplicate":
      return concat(body, middle);
    case "move":
      return concat(rest.subarray(0, target), middle, rest.subarray(target));
  }
}

const edits = array(
  record({
    kind: constantFrom("insert", "delete", "overwrite", "move", "duplicate", "zeros"),
    at: integer({ min: 0, max: 1000 }).map((part) => part / 1000),
    size: oneof(integer({ min: 1, max: 3 * W }), constantFrom(W, 2 * W)),
    to: integer({ min: 0, max: 1000 }).map((part) => part / 1000),
  }),
  { maxLength: 6 },
);

const body = record({
  length: integer({ min: 0, max: 40 * W }),
  seed: integer({ min: 1, max: 1e6 }),
  // A period makes repeats within and between shards.
  period: constantFrom(0, 1, 7, W, 3 * W),
}).map(({ length, seed, period }) =>
  period === 0
    ? noise(length, seed)
    : Uint8Array.from({ length }, (_, at) => ((at % period) * seed) >>> 3),
);

const pieces = array(oneof(integer({ min: 1, max: 40 }), integer({ min: 1, max: 12 * W })), {
  minLength: 1,
  maxLength: 5,
});

describe("a match stream", () => {
  it("puts an edited tree together from its base and the new bytes alone, whatever the pieces", () => {
    const shape = record({
      bodies: array(body, { minLength: 1, maxLength: 4 }),
      edits,
      pieces,
      layout: constantFrom(...KIND),
      knowsDigests: constantFrom(true, false),
    });
    assert(
      property(shape, ({ bodies, edits: list, pieces: sizes, layout, knowsDigests }) => {
        const old: Tree = Object.fromEntries(bodies.map((bytes, at) => [`f${at}`, bytes]));
        const edited = Object.fromEntries(
          Object.entries(old).map(([path, bytes], at) => {
            const mine = list.filter((_, which) => which % bodies.length === at);
            return [path, mine.reduce((result, one, seed) => edit(result, one, seed + 5), bytes)];
          }),
        );
        const bases = [baseOf(old, W, layout)];
        const { ranges, counters } = matchTree(edited, bases, { pieces: sizes, knowsDigests });
        const whole = concat(...Object.values(edited));
        const rebuilt = rebuild(ranges, edited, [{ tree: old, layout }]);
        expect(Buffer.compare(rebuilt, whole)).toBe(0);
        expect(counters.matchedBytes).toBeLessThanOrEqual(whole.length);
      }),
      { numRuns: 300 },
    );
  });

  it("sends little more than was changed: at most two windows for each edit of noise", () => {
    const change = record({
      kind: constantFrom("insert", "delete", "overwrite"),
      at: integer({ min: 0, max: 1000 }).map((part) => part / 1000),
      size: integer({ min: 1, max: 2 * W }),
      to: constantFrom(0),
    });
    const list = array(change, { minLength: 1, maxLength: 4 });
    assert(
      property(list, integer({ min: 1, max: 1e6 }), (changes, seed) => {
        const old = noise(60 * W + 31, seed);
        const edited = changes.reduce((result, one, at) => edit(result, one, seed + at + 1), old);
        const { newBytes, counters } = matchTree({ x: edited }, [baseOf({ x: old }, W)]);
        const changed = changes.reduce((sum, one) => sum + one.size, 0);
        // And the old end, when it is in the middle of a window that begins in changed content.
        expect(newBytes).toBeLessThanOrEqual(changed + (2 * changes.length + 1) * W);
        expect(counters.rolledBytes).toBeLessThanOrEqual(changed + (3 * changes.length + 2) * W);
      }),
      { numRuns: 200 },
    );
  });

  it.each(KIND)("finds all of an unchanged %s tree without rolling a byte", (layout) => {
    const tree = {
      "a/1": noise(100, 1),
      b: noise(20 * W + 77, 2),
      c: new Uint8Array(0),
      d: noise(W, 3),
    };
    const bases = [baseOf(tree, W, layout)];
    const { newBytes, counters, ranges } = matchTree(tree, bases, { knowsDigests: true });
    expect({ newBytes, ...counters }).toMatchObject({
      newBytes: 0,
      rolledBytes: 0,
      hashedBytes: 0,
    });
    expect(ranges.every(({ from }) => from !== undefined)).toBe(true);
    expect(ranges).toHaveLength(3);
  });

  it("sends one window for a byte changed in place, and rolls no more than that", () => {
    const old = noise(100 * W, 4);
    const edited = Uint8Array.from(old);
    edited[50 * W + 3] = (edited[50 * W + 3] ?? 0) ^ 1;
    const { newBytes, counters } = matchTree({ x: edited }, [baseOf({ x: old }, W)]);
    expect(newBytes).toBe(W);
    expect(counters.rolledBytes).toBeLessThanOrEqual(W);
  });

  it("follows a shift after bytes were put in front, without rolling on", () => {
    const old = noise(100 * W + 9, 5);
    const edited = concat(noise(3 * W + 17, 6), old);
    const { newBytes, counters, ranges } = matchTree({ x: edited }, [baseOf({ x: old }, W)]);
    expect(newBytes).toBe(3 * W + 17);
    expect(counters.rolledBytes).toBeLessThanOrEqual(4 * W);
    expect(ranges).toMatchObject([{ size: 3 * W + 17 }, { from: { key: "x", offset: 0 } }]);
  });

  it("finds the rest again after bytes were taken out, and the end of a file others were added to", () => {
    const old = noise(50 * W + 100, 7);
    const edited = concat(old.subarray(0, 20 * W + 5), old.subarray(22 * W), noise(500, 8));
    const { newBytes } = matchTree({ x: edited }, [baseOf({ x: old }, W)]);
    expect(newBytes).toBe(5 + 500);
  });

  it("finds a file that was renamed, and a file's bytes inside another", () => {
    const [one, two] = [noise(30 * W + 11, 9), noise(10 * W, 10)];
    const bases = [baseOf({ one, two }, W)];
    expect(matchTree({ other: one }, bases).newBytes).toBe(0);
    expect(matchTree({ both: concat(noise(99, 11), two, one) }, bases).newBytes).toBe(99);
  });

  it("takes content from several bases, each range from one", () => {
    const [one, two] = [noise(10 * W, 12), noise(10 * W, 13)];
    const bases = [baseOf({ x: one }, W), baseOf({ y: two }, W, "packed")];
    const { ranges } = matchTree({ x: concat(one, two) }, bases);
    expect(ranges).toMatchObject([
      { start: 0, size: 10 * W, from: { base: 0, key: "x", offset: 0, shard: 0 } },
      { start: 10 * W, size: 10 * W, from: { base: 1, key: "pack.bin", offset: 0, shard: 0 } },
    ]);
  });

  it("stays where a file was changed in place when its content is elsewhere, too", () => {
    const zeros = new Uint8Array(10 * W);
    const old = concat(zeros, noise(5 * W, 14), zeros);
    const edited = concat(zeros, noise(5 * W, 15), zeros);
    const { ranges } = matchTree({ x: edited }, [baseOf({ x: old }, W)]);
    expect(ranges).toMatchObject([
      { size: 10 * W, from: { offset: 0 } },
      { size: 5 * W },
      { size: 10 * W, from: { offset: 15 * W } },
    ]);
  });

  it("finds unmoved content by digest where a base has no CRC-32s, and rolls nothing", () => {
    const old = noise(20 * W, 16);
    const base = withoutCrcs(baseOf({ x: old }, W));
    const moved = matchTree({ x: concat(noise(1, 17), old) }, [base]);
    expect({ ...moved.counters, newBytes: moved.newBytes }).toMatchObject({
      rolledBytes: 0,
      newBytes: 20 * W + 1,
    });
    const edited = Uint8Array.from(old);
    edited[0] = (edited[0] ?? 0) ^ 1;
    expect(matchTree({ x: edited }, [base]).newBytes).toBe(W);
  });

  it("rolls ever less of what has nothing in common, and still finds what comes after it", () => {
    const old = noise(600 * W, 18);
    const edited = concat(noise(2000 * W + 99, 19), old);
    const { counters, newBytes } = matchTree({ x: edited }, [baseOf({ x: old }, W)]);
    expect(counters.rolledBytes).toBeLessThan(60 * W);
    expect(newBytes).toBeLessThan(2000 * W + 99 + 500 * W);
  });

  it("stops rolling when CRC-32s were forged to make it hash without end", () => {
    // Every window of zeros has one CRC-32; the base claims it for other content.
    const honest = baseOf({ x: new Uint8Array(W) }, W);
    const forged = baseOf({ x: noise(W, 20) }, W);
    const [crcs] = honest.manifest.files.map((file) => file.crcs);
    const files = forged.manifest.files.map((file) => ({ ...file, crcs: crcs ?? "" }));
    const base = { ...forged, manifest: { ...forged.manifest, files } };
    const { counters, newBytes } = matchTree({ x: new Uint8Array(1000 * W) }, [base]);
    expect(newBytes).toBe(1000 * W);
    expect(counters.hashedBytes).toBeLessThan((1000 + 100 + W) * W);
  });

  it("says so when files do not come as they were announced", () => {
    const stream = new MatchStream(new ShardIndex([baseOf({ x: noise(W, 21) }, W)]));
    stream.beginFile({ path: "x", size: 10 });
    expect(() => stream.take(new Uint8Array(11))).toThrow("longer than was announced");
    const other = new MatchStream(new ShardIndex([]));
    other.beginFile({ path: "x", size: 10 });
    other.take(new Uint8Array(9));
    expect(other.decided).toBeLessThanOrEqual(9);
    expect(() => other.beginFile({ path: "y", size: 1 })).toThrow("ended before");
  });
});

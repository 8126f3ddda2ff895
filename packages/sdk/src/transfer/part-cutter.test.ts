import { array, assert, boolean, integer, property, record } from "fast-check";
import { describe, expect, it } from "vitest";
import { type HeldObject, NOTHING_HELD } from "./held-parts.ts";
import {
  type Cut,
  type CutInput,
  type MatchRun,
  addRun,
  cutMatched,
  cutPart,
} from "./part-cutter.ts";
import type { PartRule } from "./upload-plan.ts";

const MIB = 1024 * 1024;
const ANY: PartRule = { unitBytes: MIB, minBytes: 5 * MIB };
const EQUAL: PartRule = { unitBytes: 8 * MIB, minBytes: 8 * MIB, equalBytes: 8 * MIB };

function holding(...parts: readonly (readonly [part: number, mib: number])[]): HeldObject {
  return {
    joined: false,
    parts: new Map(parts.map(([part, mib]) => [part, { size: mib * MIB, crc32: "c" }])),
  };
}

/** An object of so many MiB. */
function input(mib: number, more: Partial<CutInput> = {}): CutInput {
  const usual = { offset: 0, rule: ANY, held: NOTHING_HELD, wantedBytes: 5 * MIB };
  return { ...usual, objectBytes: mib * MIB, ...more };
}

/** Cuts a whole object; `type:mib` of each part. */
function cutAll(from: CutInput, runs?: readonly MatchRun[]): string[] {
  const cuts: string[] = [];
  for (let offset = from.offset; offset < from.objectBytes;) {
    const here = { ...from, offset };
    const left = runs?.filter((run) => run.start + run.size > offset);
    const cut: Cut | undefined = left === undefined ? cutPart(here) : cutMatched(here, left, true);
    if (cut === undefined) throw new Error(`no cut at ${offset}`);
    cuts.push(`${cut.type}:${cut.size / MIB}`);
    offset += cut.size;
  }
  return cuts;
}

const at = (start: number, size: number, base?: number): MatchRun => ({
  start: start * MIB,
  size: size * MIB,
  ...(base === undefined ? {} : { from: { base, key: "old", start: start * MIB + 77 } }),
});

describe("parts of an object", () => {
  it("have the size the link asks for, in units, and the last what is left", () => {
    expect(cutAll(input(23))).toEqual(["send:5", "send:5", "send:5", "send:5", "send:3"]);
    expect(cutAll(input(23.5, { wantedBytes: 9.7 * MIB }))).toEqual([
      "send:9",
      "send:9",
      "send:5.5",
    ]);
  });

  it("I2: are those that are held, whatever size was wanted", () => {
    const held = holding([1, 7], [13, 8]);
    expect(cutAll(input(30, { held }))).toEqual(["held:7", "send:5", "held:8", "send:5", "send:5"]);
  });

  it("end where a held part begins, and are never too small before it", () => {
    expect(cutAll(input(20, { held: holding([13, 8]) }))).toEqual(["send:5", "send:7", "held:8"]);
    expect(cutAll(input(20, { held: holding([10, 8]) }))).toEqual(["send:9", "held:8", "send:3"]);
    // 3 MiB before a held part cannot be a part: it is overlapped.
    expect(cutAll(input(12, { held: holding([4, 6]) }))).toEqual(["send:5", "send:5", "send:2"]);
  });

  it("ignore held parts that break the rule: too small, crooked, past the end", () => {
    const held: HeldObject = {
      joined: false,
      parts: new Map([
        [1, { size: 4 * MIB, crc32: "c" }],
        [6, { size: 5 * MIB + 1, crc32: "c" }],
        [11, { size: 50 * MIB, crc32: "c" }],
      ]),
    };
    expect(cutAll(input(15, { held }))).toEqual(["send:5", "send:5", "send:5"]);
  });

  it("are all of one size where the store wants it so", () => {
    const held = holding([2, 8], [3, 5]);
    expect(cutAll(input(21, { rule: EQUAL, held }))).toEqual(["send:8", "held:8", "held:5"]);
    const other = holding([1, 5], [2, 8]);
    expect(cutAll(input(20, { rule: EQUAL, held: other }))).toEqual(["send:8", "held:8", "send:4"]);
  });
});

describe("parts of an object that is compared", () => {
  it("are copied where a base has them, in equal shares of at most 16 MiB", () => {
    expect(cutAll(input(40), [at(0, 40, 0)])).toEqual(["copy:14", "copy:13", "copy:13"]);
  });

  it("are sent from the start of a change to where a copy may begin", () => {
    const runs = [at(0, 12.5, 0), at(12.5, 0.5), at(13, 27, 0)];
    expect(cutAll(input(40), runs)).toEqual(["copy:12", "send:5", "copy:12", "copy:11"]);
  });

  it("are sent where a match is too short, and copied to the end however short", () => {
    expect(cutAll(input(16), [at(0, 6), at(6, 4, 0), at(10, 6)])).toEqual([
      "send:5",
      "send:5",
      "send:5",
      "send:1",
    ]);
    expect(cutAll(input(9), [at(0, 7), at(7, 2, 0)])).toEqual(["send:7", "copy:2"]);
  });

  it("come from one object of one base each", () => {
    expect(cutAll(input(20), [at(0, 10, 0), at(10, 10, 1)])).toEqual(["copy:10", "copy:10"]);
  });

  it("copy from where the base has the bytes", () => {
    const cut = cutMatched(input(30, { offset: 6 * MIB }), [at(2, 28, 0)], true);
    expect(cut).toMatchObject({ type: "copy", from: { start: 6 * MIB + 77 } });
  });

  it("wait until a run has ended or is longer than a copy", () => {
    expect(cutMatched(input(100), [at(0, 12, 0)], false)).toBe(undefined);
    expect(cutMatched(input(100), [at(0, 21, 0)], false)).toMatchObject({ size: 16 * MIB });
    expect(cutMatched(input(100), [at(0, 7)], false)).toBe(undefined);
    expect(cutMatched(input(100), [at(0, 10)], false)).toEqual({ type: "send", size: 5 * MIB });
  });

  it("are copied on the store's grid where parts are equal", () => {
    const runs = [at(0, 3), at(3, 30, 0)];
    expect(cutAll(input(33, { rule: EQUAL }), runs)).toEqual([
      "send:8",
      "copy:8",
      "copy:8",
      "copy:8",
      "copy:1",
    ]);
  });

  it("tile the object and obey the rule whatever matches and whatever is held", () => {
    const shape = record({
      runs: array(record({ kib: integer({ min: 1, max: 30_000 }), known: boolean() }), {
        minLength: 1,
        maxLength: 12,
      }),
      heldAt: array(
        record({ part: integer({ min: 1, max: 60 }), mib: integer({ min: 1, max: 20 }) }),
      ),
      wanted: integer({ min: 1, max: 20 }),
      equal: boolean(),
    });
    assert(
      property(shape, ({ runs: list, heldAt, wanted, equal }) => {
        const runs: MatchRun[] = [];
        let size = 0;
        for (const [index, { kib, known }] of list.entries()) {
          const run = { start: size, size: kib * 1024 };
          addRun(runs, known ? { ...run, from: { base: 0, key: "k", start: size + index } } : run);
          size += kib * 1024;
        }
        const rule = equal ? EQUAL : ANY;
        const held = holding(...heldAt.map(({ part, mib }) => [part, mib] as const));
        const common = { rule, held, objectBytes: size, wantedBytes: wanted * MIB };
        for (let offset = 0; offset < size;) {
          const left = runs.filter((run) => run.start + run.size > offset);
          const cut = cutMatched({ ...common, offset }, left, true);
          if (cut === undefined) throw new Error("no cut");
          const end = offset + cut.size;
          const isPart =
            end === size ||
            (equal ? cut.size === 8 * MIB : cut.size % MIB === 0 && cut.size >= 5 * MIB);
          const run = left.find((one) => one.start <= offset && one.start + one.size >= end);
          const source = run?.from === undefined ? 0 : run.from.start + offset - run.start;
          const isCopy = cut.type !== "copy" || cut.from.start === source;
          const most = Math.max(wanted, equal ? 8 : 5) * MIB + 5 * MIB;
          const isSmall = cut.type !== "send" || cut.size <= most;
          expect({ end: end <= size, isPart, isCopy, isSmall }).toEqual({
            end: true,
            isPart: true,
            isCopy: true,
            isSmall: true,
          });
          offset = end;
        }
      }),
      { numRuns: 500 },
    );
  });

  it("are the same kind of cuts when the runs come bit by bit", () => {
    // What is decided early may differ from what hindsight would do, but it tiles, and copies are matches.
    assert(
      property(
        array(record({ kib: integer({ min: 1, max: 30_000 }), known: boolean() }), {
          minLength: 1,
          maxLength: 8,
        }),
        (list) => {
          const objectBytes = list.reduce((sum, { kib }) => sum + kib * 1024, 0);
          const runs: MatchRun[] = [];
          let offset = 0;
          let known = 0;
          const cutKnown = (ended: boolean) => {
            for (;;) {
              const left = runs.filter((run) => run.start + run.size > offset);
              const cut = cutMatched(input(objectBytes / MIB, { offset }), left, ended);
              if (cut === undefined || offset === objectBytes) return;
              expect(offset + cut.size).toBeLessThanOrEqual(known);
              offset += cut.size;
            }
          };
          for (const [index, { kib, known: matches }] of list.entries()) {
            for (let rest = kib * 1024; rest > 0;) {
              const size = Math.min(rest, MIB);
              const run = { start: known, size };
              const from = { base: 0, key: "k", start: known + index };
              addRun(runs, matches ? { ...run, from } : run);
              known += size;
              rest -= size;
              cutKnown(known === objectBytes);
              // Bounded memory: never more than a copy and the least parts around it undecided.
              expect(known - offset).toBeLessThanOrEqual(23 * MIB);
            }
          }
          expect(offset).toBe(objectBytes);
        },
      ),
      { numRuns: 200 },
    );
  });
});

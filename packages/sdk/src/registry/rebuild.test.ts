import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type RecordName, planRebuild } from "./rebuild.ts";

/** Records of revisions 1…n in one line of writes `w1`, `w2`, … */
const line = (count: number, from = 1): RecordName[] =>
  Array.from({ length: count }, (_, i) => ({
    revision: from + i,
    write: `w${from + i}`,
    parent: from + i === 1 ? "" : `w${from + i - 1}`,
  }));
const at = (revision: number) => ({ revision, write: `w${revision}` });
const writes = (chain: readonly { write: string }[]) => chain.map(({ write }) => write);

describe("a rebuild", () => {
  it("applies every record from the beginning when there is no snapshot", () => {
    const plan = planRebuild({ records: line(3), snapshots: [] });
    expect(plan).toMatchObject({ head: at(3), base: undefined, holes: [] });
    expect(writes(plan.chain)).toEqual(["w1", "w2", "w3"]);
  });

  it("begins with the newest snapshot on the way", () => {
    const plan = planRebuild({ records: line(9), snapshots: [at(2), at(6)] });
    expect(plan.base).toEqual(at(6));
    expect(writes(plan.chain)).toEqual(["w7", "w8", "w9"]);
  });

  it("leaves out records and snapshots whose write lost its race", () => {
    const lost = { revision: 2, write: "lost", parent: "w1" };
    const records = [...line(3), lost];
    const plan = planRebuild({ records, snapshots: [lost] });
    expect(writes(plan.chain)).toEqual(["w1", "w2", "w3"]);
    const late = { revision: 4, write: "lost", parent: "w3" };
    const told = planRebuild({ records: [...line(3), late], snapshots: [], document: at(3) });
    expect(told.head).toEqual(at(3));
  });

  it("takes the newest record when the document says nothing", () => {
    expect(planRebuild({ records: line(4), snapshots: [] }).head).toMatchObject(at(4));
  });

  it("goes on from a document that an older one was put in place of", () => {
    const plan = planRebuild({ records: line(6), snapshots: [], document: at(2) });
    expect(plan.head).toMatchObject(at(5));
  });

  it("steps over holes and names them", () => {
    const records = [...line(2), ...line(2, 5), ...line(1, 8)];
    const plan = planRebuild({ records, snapshots: [] });
    expect(plan.holes).toEqual([
      [3, 4],
      [7, 7],
    ]);
    expect(writes(plan.chain)).toEqual(["w1", "w2", "w5", "w6", "w8"]);
  });

  it("names what came before the journal as a hole when no snapshot tells of it", () => {
    const upgraded = { revision: 1, write: "w1", parent: "unrecorded" };
    expect(planRebuild({ records: [upgraded], snapshots: [] }).holes).toEqual([[0, 0]]);
    expect(planRebuild({ records: [upgraded], snapshots: [at(1)] })).toMatchObject({
      base: at(1),
      chain: [],
      holes: [],
    });
  });

  it("has nothing to say of nothing", () => {
    const plan = planRebuild({ records: [], snapshots: [] });
    expect(plan).toEqual({ head: undefined, base: undefined, chain: [], holes: [] });
  });

  it("names every revision once, applied or missing, whatever is left", () => {
    const kept = fc.array(fc.boolean(), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(kept, fc.array(fc.nat({ max: 40 })), (keep, snapshots) => {
        const records = line(keep.length).filter((_, i) => keep[i]);
        const plan = planRebuild({ records, snapshots: snapshots.filter((n) => n > 0).map(at) });
        const told = plan.chain.map(({ revision }) => revision);
        for (const [first, last] of plan.holes) {
          for (let i = first; i <= last; i++) told.push(i);
        }
        const from = (plan.base?.revision ?? 0) + 1;
        const head = plan.head?.revision ?? 0;
        const all = Array.from({ length: Math.max(0, head - from + 1) }, (_, i) => from + i);
        expect(told.toSorted((a, b) => a - b)).toEqual(all);
      }),
    );
  });
});

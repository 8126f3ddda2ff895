import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EVENT_WINDOW, type JobEvent, type JobState } from "../protocol/index.ts";
import { type Delivery, type WatchItem, mergeEvents, startMerge } from "./event-merge.ts";

const time = "2026-01-01T00:00:00.000Z";
const log = (seq: number, attempt = 1): JobEvent => ({
  type: "log",
  seq,
  attempt,
  time,
  stream: "stdout",
  line: `line ${seq}`,
});
const state = (seq: number, name: JobState, attempt = 1): JobEvent => ({
  type: "state",
  seq,
  attempt,
  time,
  state: name,
});
/** Numbers, and runs left out as `from-to`. */
const seqs = (items: readonly WatchItem[]) =>
  items.map((item) => (item.type === "skipped" ? `${item.from}-${item.to}` : item.seq));
const live = (...events: JobEvent[]): Delivery => ({ kind: "live", events });
const stored = (...events: JobEvent[]): Delivery => ({ kind: "stored", events });

/** Hands deliveries over one after the other. */
function run(sinceSeq: number, deliveries: readonly Delivery[]) {
  let merge = startMerge(sinceSeq);
  const out: WatchItem[] = [];
  let gap = false;
  for (const delivery of deliveries) {
    const step = mergeEvents(merge, delivery);
    merge = step.state;
    out.push(...step.items);
    ({ gap } = step);
  }
  return { out: seqs(out), merge, gap };
}

describe("merging deliveries of a job's events (I6)", () => {
  it("hands on consecutive events and drops those it has seen", () => {
    const { out, gap } = run(0, [live(log(1), log(2)), live(log(2), log(3)), stored(log(1))]);
    expect([out, gap]).toEqual([[1, 2, 3], false]);
  });

  it("keeps live events above a gap until what is missing arrives", () => {
    const before = run(0, [live(log(1)), live(log(4), log(5))]);
    expect([before.out, before.gap]).toEqual([[1], true]);
    const after = run(0, [live(log(1)), live(log(4), log(5)), stored(log(2), log(3))]);
    expect([after.out, after.gap]).toEqual([[1, 2, 3, 4, 5], false]);
  });

  it("never jumps in a live stream, even to a new attempt", () => {
    const { out, gap } = run(3, [live(state(100_001, "assigned", 2))]);
    expect([out, gap]).toEqual([[], true]);
  });

  it("follows a hub that takes over above a gap of the stored log", () => {
    const { out, merge } = run(60, [stored(state(100_001, "failed"))]);
    expect(out).toEqual([100_001]);
    expect(merge.ended).toBe(true);
  });

  it("follows a new attempt above a gap of the stored log", () => {
    const { out } = run(0, [live(log(1)), stored(log(100_001, 2), log(100_002, 2))]);
    expect(out).toEqual([1, 100_001, 100_002]);
  });

  it("does not step over a hole that no change of the writer explains", () => {
    const { out, gap } = run(0, [stored(log(1), log(2), log(5))]);
    expect([out, gap]).toEqual([[1, 2], true]);
  });

  it("ends with the terminal state and hands on nothing after it", () => {
    const { out, merge } = run(0, [live(log(1), state(2, "completed"), log(3)), live(log(3))]);
    expect(out).toEqual([1, 2]);
    expect(merge).toMatchObject({ ended: true, held: [] });
  });

  it("goes on behind an attempt that was interrupted", () => {
    const { out, merge } = run(0, [
      live(log(1), state(2, "interrupted")),
      stored(state(9, "queued"), state(10, "assigned", 2), log(11, 2), state(12, "completed", 2)),
    ]);
    expect(out).toEqual([1, 2, 9, 10, 11, 12]);
    expect(merge.ended).toBe(true);
  });

  it("keeps no more than a window above a gap", () => {
    const many = Array.from({ length: 3 * EVENT_WINDOW }, (_, i) => log(10 + i));
    expect(run(0, [live(...many)]).merge.held).toHaveLength(EVENT_WINDOW);
  });

  it("yields each number once, ascending, whatever is delivered in whatever order", () => {
    // A log of three writers: the hub (1–3), a worker (4–40), and the hub again above a gap.
    const events = [
      state(1, "queued", 0),
      log(2, 0),
      state(3, "assigned"),
      ...Array.from({ length: 37 }, (_, i) => log(4 + i)),
      state(1001, "failed"),
    ];
    const delivery = fc.record({
      kind: fc.constantFrom("live", "stored"),
      at: fc.nat({ max: events.length - 1 }),
      length: fc.integer({ min: 1, max: 12 }),
    });
    fc.assert(
      fc.property(fc.array(delivery, { maxLength: 80 }), fc.nat({ max: 20 }), (plan, since) => {
        let merge = startMerge(since);
        const out: (number | string)[] = [];
        const deliver = (one: Delivery) => {
          const step = mergeEvents(merge, one);
          merge = step.state;
          out.push(...seqs(step.items));
        };
        for (const { kind, at, length } of plan) {
          if (kind === "live") {
            // A worker serves its own run only.
            deliver(live(...events.slice(Math.max(3, at), at + length).filter((e) => e.seq <= 40)));
          } else {
            // The hub answers what follows a number that is not above the last one handed out.
            const from = events.findIndex(({ seq }) => seq > Math.min(at, merge.lastSeq));
            deliver(stored(...events.slice(from, from + length)));
          }
          expect(merge.held.every(({ seq }) => seq > merge.lastSeq + 1)).toBe(true);
        }
        const prefix = events.map(({ seq }) => seq).filter((seq) => seq > since);
        expect(out).toEqual(prefix.slice(0, out.length));
        // One reading of the whole stored log completes it.
        deliver(stored(...events));
        expect(out).toEqual(prefix);
        expect(merge.ended).toBe(true);
      }),
    );
  });

  it("goes over what a worker left out, and names it (26.2)", () => {
    const left = [
      { from: 2, to: 4, logs: 2 },
      { from: 6, to: 6, logs: 0 },
    ];
    const { out, gap } = run(0, [live(log(1)), { kind: "live", events: [log(5), log(7)], left }]);
    expect([out, gap]).toEqual([[1, "2-4", 5, "6-6", 7], false]);
  });

  it("takes of a message that overlaps what it has only what is above (26.6)", () => {
    const thinned = (from: number, event: number): Delivery => ({
      kind: "live",
      events: [log(event)],
      left: [{ from, to: event - 1, logs: 1 }],
    });
    const { out, gap } = run(3, [thinned(4, 10), thinned(6, 14), thinned(6, 9)]);
    expect([out, gap]).toEqual([["4-9", 10, "11-13", 14], false]);
  });

  it("drops a thinned out message that begins above what it expects (26.6)", () => {
    const above: Delivery = {
      kind: "live",
      events: [log(10), log(11)],
      left: [{ from: 7, to: 9, logs: 0 }],
    };
    const { out, gap, merge } = run(3, [above]);
    expect([out, gap, merge.held]).toEqual([[], true, []]);
  });
});

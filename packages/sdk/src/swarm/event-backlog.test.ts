import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EVENT_WINDOW, type JobEvent } from "../protocol/index.ts";
import {
  BACKLOG_KEYS,
  BACKLOG_LOGS,
  BACKLOG_MUST,
  BACKLOG_PLAIN,
  type BacklogItem,
  EventBacklog,
  isMust,
} from "./event-backlog.ts";

const time = "2026-01-01T00:00:00.000Z";
type Kind = "log" | "system" | "state" | "down" | "done" | readonly string[];

function event(seq: number, kind: Kind): JobEvent {
  const base = { seq, time, attempt: 1 };
  switch (kind) {
    case "log":
      return { ...base, type: "log", stream: "stdout", line: `line ${seq}` };
    case "system":
      return {
        ...base,
        type: "system",
        system: { cpu: 0, memoryBytes: 1, memoryTotalBytes: 2, gpus: [] },
      };
    case "state":
      return { ...base, type: "state", state: "running" };
    case "down":
    case "done": {
      const moved = { bytes: seq, total: 1000, seconds: 1, sources: {}, done: kind === "done" };
      return { ...base, type: "transfer", what: "dataset", direction: "down", ...moved };
    }
    default:
      return { ...base, type: "metric", data: Object.fromEntries(kind.map((key) => [key, seq])) };
  }
}
const kinds: fc.Arbitrary<Kind> = fc.oneof(
  { weight: 6, arbitrary: fc.subarray(["loss", "lr", "epoch", "acc"]) },
  { weight: 6, arbitrary: fc.constant<Kind>("log") },
  { weight: 1, arbitrary: fc.constantFrom<Kind>("system", "state", "down", "done") },
);

/** Pushes everything, taking whenever it is full; what each `take` gave. */
function thin(events: readonly JobEvent[], backlog = new EventBacklog(0)): BacklogItem[][] {
  const taken: BacklogItem[][] = [];
  for (const one of events) {
    if (backlog.full) taken.push(backlog.take());
    backlog.push(one);
  }
  if (!backlog.empty) taken.push(backlog.take());
  return taken;
}
const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);
const numbersOf = (items: readonly BacklogItem[]) => items.map(({ event: { seq } }) => seq);

describe("what waits for a subscriber of the newest (peer-channel.md §5)", () => {
  it("is complete up to 64 events (26.1)", () => {
    const events = Array.from({ length: BACKLOG_PLAIN }, (_, i) => event(i + 1, ["loss"]));
    const [items = []] = thin(events);
    expect(items.map((item) => item.event)).toEqual(events);
    expect(items.every(({ left }) => left === undefined)).toBe(true);
  });

  it("keeps the newest value of each metric, and the newest of all (26.1, 26.3)", () => {
    const events = [
      event(1, ["lr"]),
      ...Array.from({ length: 999 }, (_, i) => event(i + 2, ["loss"])),
      event(1001, []),
    ];
    const [items = []] = thin(events);
    expect(items.map(({ left, event: { seq } }) => [left?.from, left?.to, seq])).toEqual([
      [undefined, undefined, 1],
      [2, 999, 1000],
      [undefined, undefined, 1001],
    ]);
  });

  it("keeps the newest 64 lines of the log and counts the others", () => {
    const events = Array.from({ length: 1000 }, (_, i) => event(i + 1, i % 2 ? "log" : ["loss"]));
    const [items = []] = thin(events);
    const logs = items.filter((item) => item.event.type === "log");
    expect(logs).toHaveLength(BACKLOG_LOGS);
    expect(items.reduce((sum, { left }) => sum + (left?.logs ?? 0), 0)).toBe(500 - BACKLOG_LOGS);
  });

  it("delivers or names every number once, ascending, whatever comes (I6, 26.2)", () => {
    fc.assert(
      fc.property(fc.array(kinds, { maxLength: 700 }), (given) => {
        const events = given.map((kind, i) => event(i + 1, kind));
        const items = thin(events).flat();
        const runs = items.flatMap(({ left }) => left ?? []);
        const numbers = items.flatMap(({ left, event: one }) => [
          ...(left === undefined ? [] : range(left.from, left.to)),
          one.seq,
        ]);
        expect(numbers).toEqual(range(1, events.length));
        for (const { event: one } of items) expect(one).toBe(events[one.seq - 1]);
        for (const { from, to, logs } of runs) {
          const run = events.slice(from - 1, to);
          expect(logs).toBe(run.filter(({ type }) => type === "log").length);
          expect(run.some(isMust)).toBe(false);
        }
      }),
    );
  });

  it("ends on the newest value of every metric whatever comes", () => {
    fc.assert(
      fc.property(fc.array(kinds, { maxLength: 500 }), (given) => {
        const events = given.map((kind, i) => event(i + 1, kind));
        const newest = (list: readonly JobEvent[]) =>
          Object.assign({}, ...list.map((one) => (one.type === "metric" ? one.data : {})));
        const sent = thin(events).flat();
        expect(newest(sent.map((item) => item.event))).toEqual(newest(events));
      }),
    );
  });

  it("is bounded whatever comes, below what may be under way (26.4, 26.5)", () => {
    const endless: ((i: number) => Kind)[] = [
      (i) => [`key${i}`],
      (i) => Array.from({ length: 300 }, (_, k) => `key${i % 7}.${k}`),
      () => "log",
      () => "down",
      (i) => (i % 3 === 0 ? "state" : i % 3 === 1 ? "log" : [`key${i}`]),
    ];
    for (const kindOf of endless) {
      const events = Array.from({ length: 5000 }, (_, i) => event(i + 1, kindOf(i)));
      const most = Math.max(...thin(events).map((items) => items.length));
      expect(most).toBeLessThanOrEqual(BACKLOG_KEYS + BACKLOG_LOGS + BACKLOG_MUST + 8);
      expect(most).toBeLessThan(EVENT_WINDOW - BACKLOG_KEYS);
    }
  });

  it("forgets what waits when it goes on elsewhere", () => {
    const backlog = new EventBacklog(0);
    for (let i = 1; i <= 200; i++) backlog.push(event(i, "log"));
    backlog.clear(150);
    expect(backlog.empty).toBe(true);
    backlog.push(event(151, "log"));
    expect(numbersOf(backlog.take())).toEqual([151]);
  });
});

import * as fc from "fast-check";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { EVENT_WINDOW, type JobEvent, JobId, type LeftOut } from "../protocol/index.ts";
import { BACKLOG_LOGS, isMust } from "./event-backlog.ts";
import type { EventLogReader } from "./event-log.ts";
import { LatestPump } from "./latest-pump.ts";

const job = v.parse(JobId, "j_0123456789abcdef");
const time = "2026-01-01T00:00:00.000Z";

class Log implements EventLogReader {
  readonly firstSeq = 1;
  readonly events: JobEvent[] = [];
  readonly #listeners = new Set<() => void>();

  get lastSeq(): number {
    return this.events.length;
  }

  async read(sinceSeq: number, limit: number): Promise<JobEvent[]> {
    await Promise.resolve();
    return this.events.slice(sinceSeq, sinceSeq + limit);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  append(type: "metric" | "log" | "state", count = 1): void {
    for (let i = 0; i < count; i++) {
      const base = { seq: this.lastSeq + 1, attempt: 1, time };
      if (type === "metric") this.events.push({ ...base, type, data: { loss: base.seq } });
      else if (type === "state") this.events.push({ ...base, type, state: "running" });
      else this.events.push({ ...base, type, stream: "stdout", line: `line ${base.seq}` });
    }
    for (const listener of this.#listeners) listener();
  }
}

type Message = { readonly events: readonly JobEvent[]; readonly left: readonly LeftOut[] };

/** A pump with its path, its clock and its subscriber in the test's hands. */
class Bench {
  readonly log = new Log();
  readonly sent: Message[] = [];
  ended: string | undefined;
  broken = false;
  /** Messages the path takes until it chokes. */
  room = Number.POSITIVE_INFINITY;
  readonly pump: LatestPump;
  readonly #timers = new Set<() => void>();
  #freed: (() => void)[] = [];

  constructor() {
    this.pump = new LatestPump({
      job,
      log: this.log,
      sinceSeq: 0,
      outlet: {
        send: (events, left) => {
          if (this.broken) throw new Error("no path");
          this.room -= 1;
          this.sent.push({ events, left });
        },
        drain: () =>
          this.room > 0 ? undefined : new Promise((resolve) => this.#freed.push(resolve)),
      },
      clock: {
        now: () => 0,
        after: (_ms, run) => {
          this.#timers.add(run);
          return () => this.#timers.delete(run);
        },
      },
      onEnd: (reason) => (this.ended = reason ?? "stopped"),
    });
    this.pump.start();
  }

  free(room = Number.POSITIVE_INFINITY): void {
    this.room = room;
    for (const resolve of this.#freed.splice(0)) resolve();
  }

  rest(): void {
    for (const run of this.#timers) run();
    this.#timers.clear();
  }

  get items(): (JobEvent | LeftOut)[] {
    return this.sent.flatMap(({ events, left }) =>
      [...events, ...left].sort((a, b) => last(a) - last(b)),
    );
  }
}

const first = (item: JobEvent | LeftOut) => ("seq" in item ? item.seq : item.from);
const last = (item: JobEvent | LeftOut) => ("seq" in item ? item.seq : item.to);
/** Lets everything that is under way happen. */
const settle = async () => {
  for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
};
function expectWhole(items: readonly (JobEvent | LeftOut)[], until: number): void {
  let at = 0;
  for (const item of items) {
    expect(first(item)).toBe(at + 1);
    at = last(item);
  }
  expect(at).toBe(until);
}

describe("a subscription of the newest", () => {
  it("is answered at once and gets everything while it keeps up", async () => {
    const bench = new Bench();
    await settle();
    expect(bench.sent).toEqual([{ events: [], left: [] }]);
    for (let i = 0; i < 20; i++) {
      bench.log.append("metric");
      bench.log.append("log");
      await settle();
      bench.pump.taken(bench.log.lastSeq);
    }
    expect(bench.items).toEqual(bench.log.events);
  });

  it("gets the newest, every state, and the numbers left out when its path was choked", async () => {
    const bench = new Bench();
    await settle();
    bench.free(0);
    for (let i = 0; i < 5; i++) {
      bench.log.append("metric", 2000);
      bench.log.append("log", 2000);
      bench.log.append("state");
      await settle();
    }
    bench.free();
    await settle();
    expectWhole(bench.items, bench.log.lastSeq);
    const events = bench.sent.flatMap((message) => message.events);
    const count = (type: JobEvent["type"]) => events.filter((one) => one.type === type).length;
    expect(count("state")).toBe(5);
    expect(count("metric")).toBe(1);
    expect(count("log")).toBe(BACKLOG_LOGS);
    const logsLeft = bench.sent.flatMap(({ left }) => left.map(({ logs }) => logs));
    expect(logsLeft.reduce((sum, logs) => sum + logs, 0)).toBe(10_000 - BACKLOG_LOGS);
  });

  it("is sent no more than 512 events until it takes some (26.4)", async () => {
    const bench = new Bench();
    for (let i = 0; i < 40; i++) {
      bench.log.append("log", 200);
      bench.log.append("state", 40);
      await settle();
    }
    const sent = bench.sent.flatMap(({ events }) => events);
    expect(sent.length).toBeLessThanOrEqual(EVENT_WINDOW);
    while (last(bench.items.at(-1) ?? bench.log.events[0]!) < bench.log.lastSeq) {
      bench.pump.taken(last(bench.items.at(-1)!));
      await settle();
    }
    expectWhole(bench.items, bench.log.lastSeq);
    const states = bench.sent.flatMap(({ events }) => events.filter(isMust));
    expect(states).toEqual(bench.log.events.filter(isMust));
  });

  it("is told when the job is over, after what it lacks", async () => {
    const bench = new Bench();
    bench.free(0);
    bench.log.append("log", 500);
    bench.log.append("state");
    bench.pump.finish();
    await settle();
    expect(bench.ended).toBeUndefined();
    bench.free();
    await settle();
    expectWhole(bench.items, 501);
    expect(bench.ended).toBe("the worker has ended the job");
  });

  it("loses and repeats no number whatever happens to its path (I6, 26.2)", async () => {
    const step = fc.oneof(
      fc.record({
        do: fc.constantFrom("metric" as const, "log" as const, "state" as const),
        count: fc.integer({ min: 1, max: 300 }),
      }),
      fc.record({
        do: fc.constantFrom("choke", "free", "lose", "break", "mend", "rest", "taken"),
        count: fc.nat({ max: 3 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const bench = new Bench();
        /** What the subscriber makes of it, as event-merge.ts does. */
        let seen = 0;
        let read = 0;
        const states: number[] = [];
        const take = (lose = false) => {
          for (const { events, left } of bench.sent.slice(read)) {
            read += 1;
            if (lose) continue;
            for (const item of [...events, ...left].sort((a, b) => last(a) - last(b))) {
              if (last(item) <= seen) continue;
              // Something was lost before it: it is sent again.
              if (first(item) > seen + 1) break;
              seen = last(item);
              if ("seq" in item && isMust(item)) states.push(seen);
            }
          }
        };
        for (const { do: what, count } of steps) {
          if (what === "metric" || what === "log" || what === "state")
            bench.log.append(what, count);
          else if (what === "choke") bench.free(count);
          else if (what === "free") bench.free();
          else if (what === "rest") bench.rest();
          else if (what === "break" || what === "mend") bench.broken = what === "break";
          else if (what === "lose") {
            take(true);
            bench.pump.rewind();
          } else {
            take();
            bench.pump.taken(seen);
          }
          if (count % 2 === 0) await settle();
        }
        bench.broken = false;
        for (let i = 0; i < 100 && seen < bench.log.lastSeq; i++) {
          bench.free();
          bench.rest();
          await settle();
          take();
          bench.pump.taken(seen);
          if (i > 50) bench.pump.rewind();
        }
        bench.pump.stop();
        expect(seen).toBe(bench.log.lastSeq);
        expect(states).toEqual(bench.log.events.filter(isMust).map(({ seq }) => seq));
      }),
      { numRuns: 60 },
    );
  });
});

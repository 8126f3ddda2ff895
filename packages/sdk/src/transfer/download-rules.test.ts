import { describe, expect, it } from "vitest";
import { WaybillError } from "../protocol/index.ts";
import { Machine, source } from "../testing/download-machine.ts";
import type { DownloadEffect } from "./download-state.ts";
import { reportSources } from "./download-report.ts";
import { ShardSet } from "./shard-set.ts";

const fetches = (effects: readonly DownloadEffect[]) =>
  effects.filter((effect) => effect.type === "fetch");
const kinds = (effects: readonly DownloadEffect[]) => effects.map(({ type }) => type);
const reset = new WaybillError("unreachable", "connection reset");
const mirror = (id: string, window = 1, count = 1000) =>
  source(id, { kind: "http", cost: "free", window, has: ShardSet.all(count) });

describe("errors (rule 5)", () => {
  it("pause the source, free its shards for others at once, and end with a test of one shard", () => {
    const machine = new Machine(1024);
    machine.add(mirror("a", 4, 1024), mirror("b", 4, 1024));
    const [first] = fetches(machine.effects).filter((effect) => effect.source === "a");
    const effects = machine.send({ type: "ended", request: first?.request ?? 0, error: reset });
    expect(effects[0]).toMatchObject({ type: "retry", source: "a" });
    expect(fetches(effects)).toEqual([]);
    // The first free place of another source takes over what `a` did not bring.
    const [theirs] = fetches(machine.effects).filter((effect) => effect.source === "b");
    const next = fetches(machine.finish(theirs?.request ?? 0));
    expect(next[0]).toMatchObject({ source: "b", run: { first: first?.run.first } });
  });

  it("wait longer each time, with jitter, and not at all for other sources", () => {
    const machine = new Machine(64, { seed: 5 });
    machine.add(mirror("a"));
    const waits: number[] = [];
    for (let time = 0; time < 8; time++) {
      const request = machine.state.nextRequest - 1;
      const [retry] = machine.send({ type: "ended", request, error: reset });
      if (retry?.type !== "retry") throw new Error("no retry");
      waits.push(retry.waitMs);
      expect(fetches(machine.wait(retry.waitMs - 1))).toEqual([]);
      expect(fetches(machine.wait(1))).toMatchObject([{ run: { count: 1 } }]);
    }
    for (const [at, wait] of waits.entries()) {
      const most = Math.min(5000, 100 * 2 ** at);
      expect(wait).toBeGreaterThanOrEqual(most / 2);
      expect(wait).toBeLessThanOrEqual(most);
    }
  });

  it("of several requests at one moment count once", () => {
    const machine = new Machine(1024);
    machine.add(mirror("a", 4, 1024));
    for (const { request } of fetches(machine.effects)) {
      machine.send({ type: "ended", request, error: reset });
    }
    expect(machine.state.sources.get("a")?.failures).toBe(1);
  });

  it("with `Retry-After` are waited out", () => {
    const machine = new Machine(8);
    machine.add(mirror("a"));
    const error = new WaybillError("rate_limited", "slow down", { retryAfterMs: 7000 });
    const effects = machine.send({ type: "ended", request: 1, error });
    expect(effects).toContainEqual({ type: "retry", source: "a", error, waitMs: 7000 });
    expect(effects).toContainEqual({ type: "wake", atMs: 7000 });
    expect(fetches(machine.wait(6999))).toEqual([]);
    expect(fetches(machine.wait(1))).toHaveLength(1);
  });

  it("are waited out even if the clock that wakes is a little early", () => {
    const machine = new Machine(8);
    machine.add(mirror("a"));
    const error = new WaybillError("rate_limited", "slow down", { retryAfterMs: 1000 });
    machine.send({ type: "ended", request: 1, error });
    expect(machine.wait(999.6)).toMatchObject([{ type: "wake" }]);
    expect(fetches(machine.wait(1))).toHaveLength(1);
  });

  it("I8: end a source only after `retryForMs` without a shard", () => {
    const machine = new Machine(64, { retryForMs: 10_000 });
    machine.add(mirror("a"));
    let drops: readonly DownloadEffect[] = [];
    while (machine.state.phase === "running") {
      const request = machine.state.nextRequest - 1;
      drops = machine.send({ type: "ended", request, error: reset });
      machine.wait(5000);
    }
    expect(kinds(drops)).toEqual(["drop", "fail"]);
    expect(machine.nowMs).toBeGreaterThanOrEqual(10_000);
  });

  it("of an object that is not there rule out that object there, and nothing else", () => {
    const machine = new Machine(8);
    machine.add(mirror("a"), source("s3", { window: 1 }));
    const gone = new WaybillError("not_found", "mirror refused data.bin with 404");
    const effects = machine.send({ type: "ended", request: 1, error: gone });
    expect(fetches(effects)).toMatchObject([{ source: "s3" }]);
    expect(machine.state.sources.get("a")?.gone).toBeUndefined();
    expect(reportSources(machine.state)[0]?.why).toMatch(/refused data.bin with 404/);
  });

  it("that are defects of the source end it the third time in a row", () => {
    const machine = new Machine(8);
    machine.add(mirror("a"));
    for (let time = 0; time < 3; time++) {
      const request = machine.state.nextRequest - 1;
      machine.send({ type: "ended", request, error: new TypeError("oops") });
      machine.wait(5000);
    }
    expect(machine.state.sources.get("a")?.gone).toBe("oops");
  });

  it("are raised for a request that is silent, but not for one that waits for our disk", () => {
    const machine = new Machine(1024);
    machine.add(mirror("a", 2, 1024));
    machine.send({ type: "received", request: 1, bytes: 10 });
    machine.send({ type: "received", request: 2, bytes: 10 });
    machine.send({ type: "held", request: 2 });
    expect(kinds(machine.wait(9999))).not.toContain("cancel");
    const effects = machine.wait(1);
    expect(effects).toContainEqual({ type: "cancel", request: 1 });
    expect(effects.find((effect) => effect.type === "retry")).toMatchObject({
      error: { code: "timeout" },
    });
    expect(machine.state.requests.has(2)).toBe(true);
  });
});

describe("bad shards (rule 6)", () => {
  it("of a mirror are fetched elsewhere, even where it costs money, before they are asked of it again", () => {
    const machine = new Machine(1);
    machine.add(mirror("a"), source("s3", { window: 1 }));
    const effects = machine.send({ type: "bad-shard", request: 1 });
    expect(fetches(effects)).toMatchObject([{ source: "s3", run: { first: 0, count: 1 } }]);
  });

  it("make a source the last one, asked for single shards, when they are many", () => {
    const machine = new Machine(2048);
    machine.add(mirror("bad", 1, 2048), mirror("good", 1, 2048));
    for (let time = 0; time < 3; time++) {
      const [request] = [...machine.state.requests.values()].filter((one) => one.source === "bad");
      machine.send({ type: "bad-shard", request: request?.id ?? 0 });
    }
    expect([...machine.state.requests.values()].map((one) => one.source)).toEqual(["good"]);
    expect(reportSources(machine.state)[0]?.why).toMatch(/put last: 3 of its 3 shards were bad/);
  });
});

describe("the tail (rules 7 and 8)", () => {
  /** Two mirrors; all of it is on its way from `a` when `b` is added. */
  const tail = (shards: number) => {
    const machine = new Machine(shards);
    machine.add(mirror("a"));
    machine.state = {
      ...machine.state,
      missing: ShardSet.empty,
      requests: new Map(
        [...machine.state.requests].map(([id, one]) => [id, { ...one, end: shards }]),
      ),
    };
    return machine;
  };

  it("of another source is taken over by half when rates are unknown", () => {
    const machine = tail(8);
    expect(machine.add(mirror("b"))).toMatchObject([
      { type: "shorten", request: 1, end: 4 },
      { type: "fetch", source: "b", run: { first: 4, count: 4 } },
      {},
    ]);
  });

  it("of its own is taken over where that connection is much slower, and left alone where it is not", () => {
    // Two requests of one source for half of the file each; the second one is through after two seconds.
    const split = (slowShards: number) => {
      const machine = new Machine(64);
      machine.add(mirror("a", 2, 64));
      const [one, two] = [...machine.state.requests.values()];
      if (one === undefined || two === undefined) throw new Error("two requests are under way");
      const requests = new Map([
        [1, { ...one, end: 32 }],
        [2, { ...two, first: 32, next: 32, end: 64 }],
      ]);
      machine.state = { ...machine.state, missing: ShardSet.empty, requests };
      machine.nowMs = 2000;
      machine.send({ type: "received", request: 1, bytes: slowShards * 1024 });
      machine.send({ type: "matched", request: 1, count: slowShards });
      machine.send({ type: "received", request: 2, bytes: 32 * 1024 });
      return machine.finish(2);
    };
    expect(fetches(split(4))).toMatchObject([{ source: "a" }]);
    expect(kinds(split(4))).toContain("shorten");
    expect(fetches(split(30))).toEqual([]);
  });

  it("is never taken from a cheaper source", () => {
    const machine = tail(8);
    expect(fetches(machine.add(source("s3")))).toEqual([]);
  });

  it("that cannot be divided is fetched twice; the first copy counts, the other is cancelled", () => {
    const machine = tail(1);
    machine.add(mirror("b"));
    expect(machine.state.requests.size).toBe(1);
    // `a` is silent: after two seconds a second request is sooner than it.
    machine.wait(1000);
    const [hedge] = fetches(machine.wait(1001));
    expect(hedge).toMatchObject({ source: "b", hedgeOf: 1, run: { first: 0, count: 1 } });
    const effects = machine.finish(hedge?.request ?? 0);
    expect(kinds(effects)).toEqual(["cancel", "finish"]);
    const [a, b] = reportSources(machine.state);
    expect(b).toMatchObject({ hedges: 1, hedgesWon: 1, bytes: 1024 });
    expect(a).toMatchObject({ bytes: 0, use: "unused" });
  });

  it("is fetched twice at most, and once more when the second request fails", () => {
    const machine = tail(1);
    machine.add(mirror("b"), mirror("c"));
    machine.wait(1000);
    const [hedge] = fetches(machine.wait(1001));
    expect(fetches(machine.wait(500))).toEqual([]);
    const request = hedge?.request ?? 0;
    const again = machine.send({ type: "ended", request, error: reset });
    expect(fetches(again)).toMatchObject([{ hedgeOf: 1 }]);
  });

  it("is hedged by its own source over another connection once it is stuck", () => {
    const machine = new Machine(1);
    machine.add(mirror("a", 2));
    machine.wait(1900);
    expect(machine.state.requests.size).toBe(1);
    expect(fetches(machine.wait(200))).toMatchObject([{ source: "a", hedgeOf: 1 }]);
  });

  it("counts shards that come after their request was given up", () => {
    const machine = new Machine(1024);
    machine.add(mirror("a", 1, 1024));
    machine.send({ type: "ended", request: 1, error: reset });
    const { nowMs } = machine;
    const run = { first: 0, count: 1 };
    machine.feed({ type: "matched", source: "a", request: 1, run, nowMs });
    expect(machine.state.done.has(0)).toBe(true);
    expect(machine.state.missing.has(0)).toBe(false);
  });
});

describe("what a source learned (rule 9)", () => {
  it("bounds its requests and their number", () => {
    const machine = new Machine(4096);
    const advice = { maxRequestBytes: 2048, maxParallel: 2 };
    machine.add(mirror("a", 4, 4096));
    machine.send({ type: "source-advised", source: "a", advice });
    for (const { request } of fetches(machine.effects)) machine.finish(request);
    const running = [...machine.state.requests.values()];
    expect(running).toHaveLength(2);
    expect(running.map(({ first, end }) => end - first)).toEqual([2, 2]);
  });

  it("asks a server without ranges for the rest of an object, where at most half is in vain", () => {
    const machine = new Machine(64, { done: ShardSet.of([{ first: 0, count: 10 }]) });
    machine.add(
      source("later", { kind: "http", cost: "free", has: ShardSet.empty, mayGain: true }),
    );
    machine.send({ type: "source-advised", source: "later", advice: { wholeObjects: true } });
    const has = ShardSet.all(64);
    expect(fetches(machine.send({ type: "source-has", source: "later", has }))).toMatchObject([
      { run: { first: 10, count: 54 } },
    ]);
    const late = new Machine(64, { done: ShardSet.of([{ first: 0, count: 40 }]) });
    late.add(source("later", { kind: "http", cost: "free", has: ShardSet.empty, mayGain: true }));
    late.send({ type: "source-advised", source: "later", advice: { wholeObjects: true } });
    expect(fetches(late.send({ type: "source-has", source: "later", has }))).toEqual([]);
  });
});

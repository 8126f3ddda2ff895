import { describe, expect, it } from "vitest";
import { WaybillError } from "../protocol/index.ts";
import { Machine, type Told, source } from "../testing/download-machine.ts";
import type { DownloadEffect } from "./download-state.ts";
import { ShardSet } from "./shard-set.ts";

const fetches = (effects: readonly DownloadEffect[]) =>
  effects.filter((effect) => effect.type === "fetch");
const kinds = (effects: readonly DownloadEffect[]) => effects.map((effect) => effect.type);

describe("a download, phase by event", () => {
  const failure = new WaybillError("unreachable", "gone");
  const final = new WaybillError("forbidden", "no");
  // Told to a download of 1024 shards with one source that has two requests under way.
  const cases: readonly [string, Told, string[], string][] = [
    [
      "sources-added",
      { type: "sources-added", sources: [source("new")] },
      ["fetch", "fetch"],
      "running",
    ],
    ["source-has", { type: "source-has", source: "a", has: ShardSet.empty }, [], "running"],
    [
      "source-gone",
      { type: "source-gone", source: "a", reason: "left" },
      ["cancel", "cancel", "drop", "fail"],
      "failed",
    ],
    [
      "source-advised",
      { type: "source-advised", source: "a", advice: { maxParallel: 1 } },
      [],
      "running",
    ],
    ["received", { type: "received", request: 1, bytes: 100 }, [], "running"],
    ["held", { type: "held", request: 1 }, [], "running"],
    ["matched", { type: "matched", request: 1, count: 1 }, [], "running"],
    ["bad-shard", { type: "bad-shard", request: 1 }, ["fetch"], "running"],
    ["ended whole", { type: "ended", request: 9 }, [], "running"],
    ["ended", { type: "ended", request: 1, error: failure }, ["retry", "wake"], "running"],
    [
      "ended for good",
      { type: "ended", request: 1, error: final },
      ["cancel", "drop", "fail"],
      "failed",
    ],
    ["urgent", { type: "urgent", shards: ShardSet.all(9) }, [], "running"],
    ["tick", { type: "tick" }, ["wake"], "running"],
    ["stopped", { type: "stopped", error: failure }, ["cancel", "cancel", "fail"], "failed"],
  ];

  it.each(cases)("running: %s", (_, event, effects, phase) => {
    const machine = new Machine(1024);
    machine.add(source("a", { has: ShardSet.all(1024) }));
    expect(kinds(machine.send(event))).toEqual(effects);
    expect(machine.state.phase).toBe(phase);
  });

  it.each(["done", "failed"] as const)("%s: nothing changes any more", (phase) => {
    for (const [, event] of cases) {
      const machine = new Machine(1024);
      machine.add(source("a"));
      machine.state = { ...machine.state, phase };
      const before = machine.state;
      expect(machine.send(event)).toEqual([]);
      expect(machine.state).toBe(before);
    }
  });
});

describe("a download", () => {
  it("is done at once when everything is there", () => {
    const machine = new Machine(8, { done: ShardSet.all(8) });
    expect(kinds(machine.add(source("a")))).toEqual(["finish"]);
    expect(kinds(new Machine(0).add())).toEqual(["finish"]);
  });

  it("fails at once without a source", () => {
    const machine = new Machine(8);
    expect(kinds(machine.add())).toEqual(["fail"]);
  });

  it("asks the cache first, then free sources, then paid ones", () => {
    const machine = new Machine(9);
    const third = (first: number) => ShardSet.of([{ first, count: 3 }]);
    machine.add(
      source("s3"),
      source("peer", { kind: "peer", cost: "free", has: third(0).union(third(3)) }),
      source("cache", { kind: "cache", cost: "free", has: third(0) }),
    );
    const byShard = new Map<number, string>();
    for (const effect of fetches(machine.effects)) byShard.set(effect.run.first, effect.source);
    expect(byShard.get(0)).toBe("cache");
    expect(byShard.get(3)).toBe("peer");
    expect(byShard.get(6)).toBe("s3");
  });

  it("asks a paid source for what the cache served badly", () => {
    const machine = new Machine(1);
    machine.add(source("cache", { kind: "cache", cost: "free" }), source("s3"));
    expect(fetches(machine.effects).map(({ source: id }) => id)).toEqual(["cache"]);
    const effects = machine.send({ type: "bad-shard", request: 1 });
    expect(fetches(effects).map(({ source: id }) => id)).toEqual(["s3"]);
  });

  it("I7: bans a peer at its first bad shard and fetches that shard elsewhere, and nothing else stops", () => {
    const machine = new Machine(4096);
    const peer = (id: string) =>
      source(id, { kind: "peer", cost: "free", window: 1, has: ShardSet.all(4096) });
    machine.add(peer("good"), peer("bad"));
    const [good, bad] = fetches(machine.effects);
    expect([good?.source, bad?.source]).toEqual(["good", "bad"]);
    const effects = machine.send({ type: "bad-shard", request: bad?.request ?? 0 });
    expect(kinds(effects)).toEqual(["drop"]);
    expect(machine.state.requests.has(good?.request ?? 0)).toBe(true);
    const next = machine.finish(good?.request ?? 0);
    expect(fetches(next)[0]).toMatchObject({ source: "good", run: { first: bad?.run.first } });
  });

  it("asks a store again for a bad shard, and gives up on that shard at the third time, by name", () => {
    const machine = new Machine(2);
    machine.add(source("s3", { window: 1, has: ShardSet.all(2) }));
    for (let time = 1; time <= 3; time++) {
      machine.send({ type: "bad-shard", request: machine.state.nextRequest - 1 });
    }
    // The other shard is still fetched.
    machine.send({ type: "matched", request: machine.state.nextRequest - 1, count: 1 });
    const effects = machine.send({ type: "ended", request: machine.state.nextRequest - 1 });
    expect(effects).toMatchObject([{ type: "fail", error: { code: "no_source_left" } }]);
    expect(String(Object(effects[0]).error)).toMatch(
      /shard 0 \(of data.bin\) from s3 failed its hash/,
    );
    expect(machine.state.done.size).toBe(1);
  });

  it("I8: says of every source why it failed when none is left", () => {
    const machine = new Machine(8);
    machine.add(
      source("p1", { kind: "peer", cost: "free", has: ShardSet.of([{ first: 0, count: 2 }]) }),
      source("s3", { has: ShardSet.of([{ first: 0, count: 8 }]) }),
    );
    machine.send({ type: "source-gone", source: "p1", reason: "left the room" });
    machine.send({ type: "source-gone", source: "s3", reason: "bucket is gone" });
    const failed = machine.effects.find((effect) => effect.type === "fail");
    const message = String(Object(failed).error);
    expect(message).toMatch(/p1: left the room/);
    expect(message).toMatch(/s3: bucket is gone/);
  });

  it("waits for a source whose shards may still come", () => {
    const machine = new Machine(4);
    const gaining = source("p", { kind: "peer", cost: "free", has: ShardSet.empty, mayGain: true });
    expect(machine.add(gaining)).toEqual([]);
    const effects = machine.send({ type: "source-has", source: "p", has: ShardSet.all(4) });
    expect(fetches(effects)).toHaveLength(2);
  });

  it("asks first for what somebody waits for, and goes on behind it", () => {
    const machine = new Machine(1024);
    machine.add(source("s3", { window: 1, has: ShardSet.all(1024) }));
    const urgent = ShardSet.of([{ first: 700, count: 2 }]);
    expect(machine.send({ type: "urgent", shards: urgent })).toEqual([]);
    expect(fetches(machine.finish(1))).toMatchObject([{ run: { first: 700 } }]);
    machine.send({ type: "urgent", shards: ShardSet.empty });
    expect(fetches(machine.finish(2))).toMatchObject([{ run: { first: 4 } }]);
  });

  it("fetches contiguous shards as one run, at most 1/256 of the artifact and never across `runEnd`", () => {
    const machine = new Machine(1024);
    machine.add(
      source("s3", {
        window: 3,
        has: ShardSet.all(1024),
        runEnd: (first) => first + (first === 4 ? 1 : 9),
      }),
    );
    expect(fetches(machine.effects).map(({ run }) => run)).toEqual([
      { first: 0, count: 4 },
      { first: 4, count: 1 },
      { first: 5, count: 4 },
    ]);
  });
});

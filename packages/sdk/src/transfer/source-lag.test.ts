import { describe, expect, it } from "vitest";
import { type SimulatedSource, type Simulation, simulate } from "../testing/download-simulator.ts";
import { Machine, source } from "../testing/download-machine.ts";
import { reportSources } from "./download-report.ts";
import { ShardSet } from "./shard-set.ts";

const MIB = 1024 * 1024;
const SHARDS = 180;
const store: SimulatedSource = { id: "s3", kind: "s3", cost: "paid", bytesPerS: 200 * MIB };
const aloneMs = simulate({ shards: SHARDS, sources: [store] }).ms;
const reportOf = ({ report }: Simulation, id: string) => {
  const one = report.find((entry) => entry.source === id);
  if (one === undefined) throw new Error(`no report of ${id}`);
  return one;
};

describe("a cheap download beside a mirror that does badly", () => {
  const mirrors: readonly [string, Omit<SimulatedSource, "id">, RegExp][] = [
    [
      "drips 5 kB/s a connection",
      { bytesPerS: 1e9, connectionBytesPerS: 5000 },
      /brought nothing: it sent only \d+ KiB\/s/,
    ],
    ["takes requests and sends nothing", { bytesPerS: 0 }, /no byte for 3 s/],
    [
      "sends half of each answer and stalls",
      { bytesPerS: 20 * MIB, halves: "silent" },
      /no byte for 3 s/,
    ],
    [
      "sends half of each answer and closes",
      { bytesPerS: 20 * MIB, halves: "reset" },
      /brought nothing: connection reset/,
    ],
    [
      "dies after a good second",
      { bytesPerS: 20 * MIB, dies: { atMs: 1000, how: "silent" } },
      /no byte for 3 s/,
    ],
  ];

  it.each(mirrors)("is soon done by the store when it %s", (_, mirror, why) => {
    const run = simulate({ shards: SHARDS, sources: [{ id: "mirror", ...mirror }, store] });
    expect(run.error).toBeUndefined();
    expect(run.state.phase).toBe("done");
    expect(run.ms).toBeLessThan(3 * aloneMs + 5000);
    expect(run.sentBytes).toBeLessThan(1.1 * run.bytes);
    expect(reportOf(run, "mirror").why).toMatch(why);
    expect(reportOf(run, "s3").why).toMatch(/no cheaper source had, or brought in time \(mirror: /);
  });

  it("is finished in seconds, too, when all of it was asked of the mirror at once", () => {
    const run = simulate({
      shards: 2,
      sources: [{ id: "mirror", bytesPerS: 1e9, connectionBytesPerS: 5000 }, store],
    });
    expect(run.ms).toBeLessThan(5000);
  });

  it("still asks the mirror alone when the store is not faster, but for one probe", () => {
    const slow = { ...store, bytesPerS: 120_000, connectionBytesPerS: 120_000 };
    const run = simulate({
      shards: 32,
      shardBytes: 64 * 1024,
      sources: [{ id: "mirror", bytesPerS: 100_000 }, slow],
    });
    expect(run.state.phase).toBe("done");
    expect(reportOf(run, "s3").share).toBeLessThan(0.05);
  });

  it("leaves the store alone beside a mirror of a sensible rate, also one that stumbles once", () => {
    const run = simulate({
      shards: SHARDS,
      sources: [
        { id: "mirror", bytesPerS: (nowMs) => (nowMs > 5000 && nowMs < 7000 ? 0 : 2 * MIB) },
        store,
      ],
    });
    expect(reportOf(run, "s3")).toMatchObject({
      bytes: 0,
      why: expect.stringMatching(/not needed/),
    });
  });

  it("returns to a mirror that came back to itself", () => {
    const run = simulate({
      shards: 4 * SHARDS,
      sources: [
        { id: "mirror", bytesPerS: (nowMs) => (nowMs < 6000 ? 0 : 40 * MIB) },
        { ...store, bytesPerS: 20 * MIB },
      ],
    });
    expect(reportOf(run, "mirror").share).toBeGreaterThan(0.6);
  });

  it("goes on with the mirror, however slow, when nothing else has it", () => {
    const run = simulate({
      shards: 8,
      shardBytes: 64 * 1024,
      sources: [{ id: "mirror", bytesPerS: 10_000 }],
    });
    expect(run.state.phase).toBe("done");
    expect(reportOf(run, "mirror").why).toBe("asked before anything that costs money");
  });

  it("does not blame a mirror whose bytes wait for our own disk", () => {
    const machine = new Machine(1024);
    machine.add(
      source("mirror", { kind: "http", cost: "free", window: 1, has: ShardSet.all(1024) }),
      source("s3", { has: ShardSet.all(1024) }),
    );
    machine.send({ type: "received", request: 1, bytes: 100 });
    machine.send({ type: "held", request: 1 });
    machine.wait(9000);
    machine.send({ type: "received", request: 1, bytes: 0 });
    machine.wait(500);
    expect(machine.state.sources.get("mirror")?.lags).toBeUndefined();
  });
});

describe("the report of a download that asked nobody, or ended early", () => {
  it("says that everything was there", () => {
    const machine = new Machine(8, { done: ShardSet.all(8) });
    machine.add(source("s3"));
    expect(reportSources(machine.state)[0]?.why).toBe("not needed: everything was there already");
  });

  it("does not say that cheaper sources had everything", () => {
    const machine = new Machine(1024);
    machine.add(
      source("mirror", { kind: "http", cost: "free", window: 1, has: ShardSet.all(1024) }),
      source("s3", { has: ShardSet.all(1024) }),
    );
    machine.send({ type: "stopped", error: new Error("stop") });
    expect(reportSources(machine.state).map(({ why }) => why)).toEqual([
      "asked, but the download ended before a whole shard of it was there",
      "not asked before the download ended: cheaper sources come first",
    ]);
  });
});

describe("a cheap download beside a source that is worth waiting for", () => {
  const filling = { id: "proxy", kind: "peer", patienceMs: 60_000, giveUpMs: 60_000 } as const;

  it("leaves the store alone although it is silent and slow for a while", () => {
    const run = simulate({
      shards: SHARDS,
      sources: [{ ...filling, bytesPerS: (nowMs) => (nowMs < 20_000 ? 0 : 30 * MIB) }, store],
    });
    expect(reportOf(run, "s3")).toMatchObject({ bytes: 0, requests: 0 });
    const slow = simulate({
      shards: 32,
      shardBytes: 64 * 1024,
      sources: [{ ...filling, bytesPerS: 100_000 }, store],
    });
    expect(reportOf(slow, "s3")).toMatchObject({ bytes: 0, requests: 0 });
  });

  it("turns to the store at once when its connections fail, and within a minute when it is silent for good", () => {
    const reset = simulate({
      shards: SHARDS,
      sources: [{ ...filling, bytesPerS: MIB, dies: { atMs: 1000, how: "reset" } }, store],
    });
    expect(reset.ms).toBeLessThan(3 * aloneMs + 5000);
    const silent = simulate({
      shards: SHARDS,
      sources: [{ ...filling, bytesPerS: MIB, dies: { atMs: 1000, how: "silent" } }, store],
    });
    expect(silent.error).toBeUndefined();
    expect(silent.ms).toBeLessThan(62_000 + 3 * aloneMs);
  });

  it("gives up a source that brings nothing for its time, and not before", () => {
    const run = simulate({
      shards: SHARDS,
      sources: [{ ...filling, bytesPerS: MIB, dies: { atMs: 1000, how: "silent" } }],
    });
    expect(run.error).toMatchObject({ code: "no_source_left" });
    expect(run.ms).toBeGreaterThan(60_000);
    expect(run.ms).toBeLessThan(95_000);
  });
});

import { assert, integer, property, record, tuple } from "fast-check";
import { describe, expect, it } from "vitest";
import { type Simulation, simulate } from "../testing/download-simulator.ts";

const MBIT = 125_000;
const share = ({ report }: Simulation, id: string) =>
  report.find(({ source }) => source === id)?.share ?? 0;
const whole = (run: Simulation) => {
  expect(run.error).toBeUndefined();
  expect(run.state.phase).toBe("done");
};

describe("the pace of a download", () => {
  it("of two mirrors of 30 and 20 Mbit/s is at least 95 % of 50, and each brings its share", () => {
    const run = simulate({
      shards: 256,
      sources: [
        { id: "a", bytesPerS: 30 * MBIT },
        { id: "b", bytesPerS: 20 * MBIT },
      ],
    });
    whole(run);
    expect((run.bytes * 1000) / run.ms).toBeGreaterThanOrEqual(0.95 * 50 * MBIT);
    expect(share(run, "a")).toBeCloseTo(0.6, 1);
    expect(run.sentBytes).toBeLessThan(1.02 * run.bytes);
  });

  it("of any two to four mirrors is near the sum of their rates", () => {
    const mirror = record({
      mbit: integer({ min: 5, max: 200 }),
      answerMs: integer({ min: 1, max: 150 }),
    });
    assert(
      property(
        tuple(mirror, mirror, mirror, mirror),
        integer({ min: 2, max: 4 }),
        (four, count) => {
          const mirrors = four.slice(0, count);
          const sum = mirrors.reduce((total, { mbit }) => total + mbit, 0) * MBIT;
          // Half a minute of all of them together.
          const shards = Math.ceil((sum * 30) / (1024 * 1024));
          const run = simulate({
            shards,
            sources: mirrors.map(({ mbit, answerMs }, at) => ({
              id: `m${at}`,
              bytesPerS: mbit * MBIT,
              answerMs,
            })),
          });
          whole(run);
          expect((run.bytes * 1000) / run.ms).toBeGreaterThanOrEqual(0.92 * sum);
          expect(run.sentBytes).toBeLessThan(1.05 * run.bytes);
        },
      ),
      { numRuns: 25, seed: 3 },
    );
  });

  it.each(["reset", "silent"] as const)(
    "stalls for less than a second when the faster mirror dies by %s at half",
    (how) => {
      const run = simulate({
        shards: 128,
        sources: [
          { id: "fast", bytesPerS: 30 * MBIT, dies: { atMs: 10_000, how } },
          { id: "slow", bytesPerS: 20 * MBIT },
        ],
      });
      whole(run);
      expect(run.stallMs).toBeLessThan(1000);
      // 10 s of 50, then 20 alone: nothing waits for the dead one at the end.
      const best = 10_000 + ((run.bytes - 500 * MBIT) * 1000) / (20 * MBIT);
      expect(run.ms).toBeLessThan(1.05 * best + 1000);
    },
  );

  it("wastes at most 3 % on a mirror of which 1 % of the ranges are corrupt", () => {
    const run = simulate({
      shards: 1024,
      sources: [
        { id: "corrupt", bytesPerS: 100 * MBIT, isBad: (shard) => shard % 100 === 50 },
        { id: "good", bytesPerS: 20 * MBIT },
      ],
    });
    whole(run);
    expect(run.sentBytes).toBeLessThan(1.03 * run.bytes);
    expect(share(run, "corrupt")).toBeGreaterThan(0.7);
  });

  it("puts a mirror that is mostly corrupt last, and asks it for single shards", () => {
    const run = simulate({
      shards: 256,
      sources: [
        { id: "corrupt", bytesPerS: 100 * MBIT, isBad: (shard) => shard % 2 === 0 },
        { id: "good", bytesPerS: 20 * MBIT },
      ],
    });
    whole(run);
    expect(run.sentBytes).toBeLessThan(1.15 * run.bytes);
    expect(run.report[0]?.why).toMatch(/put last/);
  });

  it("uses more connections where each is slow, and few where they bring nothing", () => {
    const far = simulate({
      shards: 128,
      sources: [{ id: "far", bytesPerS: 1e9, connectionBytesPerS: 120_000, answerMs: 150 }],
    });
    whole(far);
    expect(far.mostBusy.get("far")).toBe(32);
    const near = simulate({ shards: 512, sources: [{ id: "near", bytesPerS: 100 * MBIT }] });
    whole(near);
    expect(near.mostBusy.get("near")).toBeLessThanOrEqual(8);
  });

  it("comes to terms with a store that refuses more than three requests at once", () => {
    const run = simulate({
      shards: 256,
      sources: [{ id: "s3", kind: "s3", cost: "paid", bytesPerS: 100 * MBIT, refusesAbove: 3 }],
    });
    whole(run);
    expect((run.bytes * 1000) / run.ms).toBeGreaterThanOrEqual(0.7 * 100 * MBIT);
  });

  it("is finished by another source when one is slow to a trickle at the end", () => {
    const run = simulate({
      shards: 64,
      sources: [
        { id: "a", bytesPerS: 100 * MBIT },
        { id: "trickle", bytesPerS: (nowMs) => (nowMs < 3000 ? 100 * MBIT : 1000) },
      ],
    });
    whole(run);
    expect(run.ms).toBeLessThan(9000);
  });

  it("leaves a paid source alone while cheaper ones are in time, and joins it when they are not", () => {
    const sources = (mbit: number) => [
      { id: "mirror", bytesPerS: mbit * MBIT },
      { id: "s3", kind: "s3", cost: "paid", bytesPerS: 100 * MBIT } as const,
    ];
    const early = simulate({
      shards: 128,
      sources: sources(40),
      prefer: { deadlineMs: 60_000 },
    });
    whole(early);
    expect(share(early, "s3")).toBe(0);
    const late = simulate({ shards: 128, sources: sources(10), prefer: { deadlineMs: 60_000 } });
    whole(late);
    expect(late.ms).toBeLessThan(60_000);
    expect(late.report[1]?.why).toMatch(/deadline/);
    const cheap = simulate({ shards: 128, sources: sources(10) });
    expect(share(cheap, "s3")).toBe(0);
    const fast = simulate({ shards: 128, sources: sources(10), prefer: "fast" });
    expect((fast.bytes * 1000) / fast.ms).toBeGreaterThan(0.9 * 110 * MBIT);
  });

  it("goes on where everything failed for a while, and gives up after `retryForMs`", () => {
    const away = (nowMs: number) => nowMs > 2000 && nowMs < 30_000;
    const sources = [{ id: "s3", bytesPerS: (nowMs: number) => (away(nowMs) ? 0 : 100 * MBIT) }];
    const back = simulate({ shards: 128, sources });
    whole(back);
    expect(back.ms).toBeLessThan(45_000);
    const dead = simulate({
      shards: 128,
      sources: [{ id: "s3", bytesPerS: 100 * MBIT, dies: { atMs: 2000, how: "reset" } }],
      retryForMs: 20_000,
    });
    expect(dead.error).toMatchObject({ code: "no_source_left" });
    expect(dead.ms).toBeGreaterThan(15_000);
    expect(dead.ms).toBeLessThan(25_000);
  });
});

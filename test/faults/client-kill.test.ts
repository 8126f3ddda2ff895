import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finish, killAt } from "../support/killing.ts";
import { Lab } from "../support/lab.ts";
import { digestOf, writeRandomFile } from "../support/random-file.ts";
import { peakRssBytes } from "../support/memory.ts";

const MIB = 1024 * 1024;
const BYTES = 768 * MIB;
/** The measure is 1.05 over three kills of 1 GiB: 17 MiB lost at each. */
const LOST_PER_KILL = 17 * MIB;
/** Peak memory of each process, whatever the file's size (I3). */
const MAX_RSS = 200 * MIB;

describe("a client that is SIGKILLed three times (I2)", () => {
  let lab: Lab;
  let file: string;
  let digest: string;

  beforeAll(async () => {
    lab = await Lab.open({ counted: true });
    file = lab.path("big.bin");
    digest = await writeRandomFile(file, BYTES);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("pushes on where it was: what is confirmed is not sent again", async () => {
    for (const share of [0.15, 0.4, 0.65])
      await killAt(lab.start(["push", file, "--name", "big"], "owner"), share * BYTES);
    const { done, peakBytes } = await finish(lab, ["push", file, "--name", "big"]);
    expect(done).toMatchObject({ type: "done", bytes: BYTES });
    expect(peakBytes).toBeLessThan(MAX_RSS);
    expect(await peakRssBytes(lab.hub.child.pid)).toBeLessThan(MAX_RSS);
    expect(Number(done["savedBytes"])).toBeGreaterThanOrEqual(0.6 * BYTES);
    expect(lab.counts.up).toBeLessThanOrEqual(BYTES + 3 * LOST_PER_KILL);
  });

  it("pulls on where it was, and the digest is equal (I1)", async () => {
    const before = lab.counts.down;
    for (const share of [0.15, 0.4, 0.65])
      await killAt(lab.start(["pull", "big", lab.path("out")], "owner"), share * BYTES);
    const { done, peakBytes } = await finish(lab, ["pull", "big", lab.path("out")]);
    expect(peakBytes).toBeLessThan(MAX_RSS);
    expect(await peakRssBytes(lab.hub.child.pid)).toBeLessThan(MAX_RSS);
    const sources = done["sources"] as Record<string, number>;
    expect(sources["cache"]).toBeGreaterThanOrEqual(0.6 * BYTES);
    expect((sources["cache"] ?? 0) + (sources["s3"] ?? 0)).toBe(BYTES);
    expect(lab.counts.down - before).toBeLessThanOrEqual(BYTES + 3 * LOST_PER_KILL);
    expect(await digestOf(lab.path("out", "big.bin"))).toBe(digest);
  });
});

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finish, killAt } from "../support/killing.ts";
import { Lab } from "../support/lab.ts";
import { digestOf } from "../support/random-file.ts";
import { writeTableFile } from "../support/table-file.ts";

const MIB = 1024 * 1024;
const BYTES = 384 * MIB;
/** In flight are three parts of 5 MiB at most: what a kill costs, in stored bytes. */
const LOST_PER_KILL = 17 * MIB;
/** Peak memory of each process, whatever the file's size (I3). */
const MAX_RSS = 200 * MIB;
/** A link on which compressing pays. */
const SLOW = ["--limit-up", "25M"];

describe("a client that compresses and is SIGKILLed (I2)", () => {
  let lab: Lab;
  let file: string;
  let digest: string;

  beforeAll(async () => {
    lab = await Lab.open({ counted: true });
    file = lab.path("rows.csv");
    digest = await writeTableFile(file, BYTES);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("pushes on where it was: frames that are stored are made again, and not sent", async () => {
    for (const share of [0.3, 0.6])
      await killAt(lab.start(["push", file, "--name", "rows", ...SLOW], "owner"), share * BYTES);
    const { done, peakBytes } = await finish(lab, ["push", file, "--name", "rows", ...SLOW]);
    expect(done).toMatchObject({ type: "done", bytes: BYTES });
    expect(peakBytes).toBeLessThan(MAX_RSS);
    const saved = done["saved"] as Record<string, number>;
    expect(saved["held"]).toBeGreaterThanOrEqual(0.55 * BYTES);
    expect(saved["compressed"]).toBeGreaterThan(0.2 * BYTES);
    expect(lab.counts.up).toBeLessThanOrEqual(BYTES / 2.5 + 2 * LOST_PER_KILL);
  });

  it("pulls frames within its memory, and the digest is equal (I1)", async () => {
    const before = lab.counts.down;
    await killAt(lab.start(["pull", "rows", lab.path("out")], "owner"), 0.4 * BYTES);
    const { peakBytes } = await finish(lab, ["pull", "rows", lab.path("out")]);
    expect(peakBytes).toBeLessThan(MAX_RSS);
    expect(lab.counts.down - before).toBeLessThanOrEqual(BYTES / 2.5 + LOST_PER_KILL);
    expect(await digestOf(lab.path("out", "rows.csv"))).toBe(digest);
  });
});

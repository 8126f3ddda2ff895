import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { peakRssBytes } from "../support/memory.ts";
import { digestOf } from "../support/random-file.ts";
import { writeTableFile } from "../support/table-file.ts";
import type { Line, WaybillProcess } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;
const BYTES = 384 * MIB;
/** In flight are three parts of 5 MiB at most: what a kill costs, in stored bytes. */
const LOST_PER_KILL = 17 * MIB;
/** Peak memory of each process, whatever the file's size (I3). */
const MAX_RSS = 200 * MIB;
/** A link on which compressing pays. */
const SLOW = ["--limit-up", "25M"];

async function killAt(client: WaybillProcess, share: number): Promise<void> {
  await client.until(
    (line) => line["type"] === "progress" && Number(line["bytes"]) >= share * BYTES,
  );
  await client.kill();
  expect(client.child.signalCode).toBe("SIGKILL");
}

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

  async function finish(args: readonly string[]): Promise<{ done: Line; peakBytes: number }> {
    const client = lab.start(args, "owner");
    let done: Line = {};
    let peakBytes = 0;
    for await (const line of client.rest()) {
      done = line;
      peakBytes = Math.max(peakBytes, await peakRssBytes(client.child.pid));
    }
    expect(await client.exit(), client.errors).toBe(0);
    return { done, peakBytes };
  }

  it("pushes on where it was: frames that are stored are made again, and not sent", async () => {
    for (const share of [0.3, 0.6])
      await killAt(lab.start(["push", file, "--name", "rows", ...SLOW], "owner"), share);
    const { done, peakBytes } = await finish(["push", file, "--name", "rows", ...SLOW]);
    expect(done).toMatchObject({ type: "done", bytes: BYTES });
    expect(peakBytes).toBeLessThan(MAX_RSS);
    const saved = done["saved"] as Record<string, number>;
    expect(saved["held"]).toBeGreaterThanOrEqual(0.55 * BYTES);
    expect(saved["compressed"]).toBeGreaterThan(0.2 * BYTES);
    expect(lab.counts.up).toBeLessThanOrEqual(BYTES / 2.5 + 2 * LOST_PER_KILL);
  });

  it("pulls frames within its memory, and the digest is equal (I1)", async () => {
    const before = lab.counts.down;
    await killAt(lab.start(["pull", "rows", lab.path("out")], "owner"), 0.4);
    const { peakBytes } = await finish(["pull", "rows", lab.path("out")]);
    expect(peakBytes).toBeLessThan(MAX_RSS);
    expect(lab.counts.down - before).toBeLessThanOrEqual(BYTES / 2.5 + LOST_PER_KILL);
    expect(await digestOf(lab.path("out", "rows.csv"))).toBe(digest);
  });
});

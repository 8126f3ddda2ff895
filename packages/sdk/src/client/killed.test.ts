// I2 across SIGKILL: processes of their own are killed in the middle, and what they confirmed is neither
// sent nor fetched again.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HubDouble, digestsOf, noise, writeTree } from "../testing/index.ts";

const MIB = 1024 * 1024;
const TOTAL = 192 * MIB;
const child = fileURLToPath(new URL("../testing/transfer-child.ts", import.meta.url));
let base: string;
let hub: HubDouble;
let running: ChildProcess | undefined;

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), "waybill-kill-"));
  hub = await new HubDouble(join(base, "hub")).start();
});

afterEach(async () => {
  running?.kill("SIGKILL");
  await hub.stop();
  rmSync(base, { recursive: true, force: true });
});

type Line = { readonly bytes: number; readonly done?: true; readonly maxRssMib?: number };

/** Runs a transfer; kills it at the first progress at or above `killAt` bytes. Gives its last line. */
async function run(args: readonly string[], killAt = Number.POSITIVE_INFINITY): Promise<Line> {
  const node = ["--conditions=@waybill/source", child, ...args];
  const transfer = spawn(process.execPath, node, { stdio: ["ignore", "pipe", "inherit"] });
  running = transfer;
  const exited = once(transfer, "exit");
  let last: Line = { bytes: 0 };
  for await (const text of createInterface(transfer.stdout)) {
    last = JSON.parse(text) as Line;
    if (last.bytes >= killAt && last.done !== true) transfer.kill("SIGKILL");
  }
  await exited;
  return last;
}

describe("a transfer that is killed three times", () => {
  it("I2: pushes what was confirmed once, and the tree arrives whole", async () => {
    const root = writeTree(join(base, "data"), { "big.bin": noise(TOTAL), note: "small" });
    const args = ["push", hub.url, "lab", root, "data"];
    for (const part of [0.2, 0.45, 0.7]) {
      const killed = await run(args, TOTAL * part);
      expect(killed.done).toBe(undefined);
    }
    expect((await run(args)).done).toBe(true);
    expect(hub.store.sentAgain).toBe(0);
    // What is in flight is all that a kill can cost: at most 24 parts of 5 MiB, on a busy machine that seems far away.
    expect(hub.store.receivedBytes).toBeLessThanOrEqual(TOTAL + 3 * 24 * 5 * MIB);
    await run(["pull", hub.url, "lab", "data", join(base, "out")]);
    expect(digestsOf(join(base, "out"))).toEqual(digestsOf(root));
  }, 120_000);

  it("I2: pulls what was verified once, and shows no file before it is whole", async () => {
    const root = writeTree(join(base, "data"), { "big.bin": noise(TOTAL), note: "small" });
    await run(["push", hub.url, "lab", root, "data"]);
    const out = join(base, "out");
    const args = ["pull", hub.url, "lab", "data", out];
    for (const part of [0.2, 0.45, 0.7]) {
      const killed = await run(args, TOTAL * part);
      expect(killed.done).toBe(undefined);
      expect(Object.keys(digestsOf(out))).not.toContain("big.bin");
    }
    expect((await run(args)).done).toBe(true);
    // Four requests of at most 4 MiB are in flight.
    expect(hub.store.servedBytes).toBeLessThanOrEqual(TOTAL + 3 * 16 * MIB + MIB);
    expect(digestsOf(out)).toEqual(digestsOf(root));
  }, 120_000);
});

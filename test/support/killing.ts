// Transfers that are killed on their way, and the one that ends them.
import { expect } from "vitest";
import type { Lab } from "./lab.ts";
import { peakRssBytes } from "./memory.ts";
import type { Line, WaybillProcess } from "./waybill-process.ts";

/** Kills the process once it reports that many bytes done; it must still have been at work then. */
export async function killAt(client: WaybillProcess, bytes: number): Promise<void> {
  await client.until((line) => line["type"] === "progress" && Number(line["bytes"]) >= bytes);
  await client.kill();
  expect(client.child.signalCode).toBe("SIGKILL");
}

/** Runs a transfer to its end, looking at its memory with every line of progress. */
export async function finish(
  lab: Lab,
  args: readonly string[],
): Promise<{ done: Line; peakBytes: number }> {
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

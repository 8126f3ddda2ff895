// Notices that the hub cannot be reached: not for the moment that a restart takes, but for longer than a worker waits.
import { WaybillError } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import type { HubCalls } from "../ports.ts";

/** Between looks while it answers. */
const LOOK_MS = 2000;

/** Resolves when the hub has not answered for `lostMs`; rejects with the signal's reason. */
export async function hubLost(hub: HubCalls, lostMs: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      await hub.call("version", {}, { signal, retryForMs: lostMs });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof WaybillError && error.retryable) return;
    }
    await delay(Math.min(LOOK_MS, lostMs), signal);
  }
}

// Runs the hub's periodic duties one after the other: idle sessions end, expired uploads go. Every duty is
// idempotent and conditional, so two hubs may sweep the same bucket and a crash in the middle is made good by
// the next round.
import { type RoomId, isAbort, messageOf } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import type { Log } from "../log.ts";

export type SweeperDeps = {
  readonly everyMs: number;
  readonly rooms: () => AsyncIterable<RoomId>;
  /** Duties per room, in order; one that fails does not keep the others from running. */
  readonly roomDuties: readonly RoomDuty[];
  /** Duties once a round. */
  readonly duties: readonly Duty[];
  readonly log: Log;
};

type Duty = { readonly name: string; readonly run: () => Promise<unknown> };
type RoomDuty = {
  readonly name: string;
  readonly run: (room: RoomId) => Promise<unknown>;
};

export interface Sweeper {
  start(): void;
  /** Waits for the duty under way; no further one begins. Idempotent. */
  stop(): Promise<void>;
  /** One round now. */
  sweep(): Promise<void>;
}

/** Makes a sweeper; nothing runs before `start`. */
export function createSweeper(deps: SweeperDeps): Sweeper {
  const { log } = deps;
  const stopping = new AbortController();
  const { signal } = stopping;
  let running: Promise<void> | undefined;

  async function attempt(name: string, run: () => Promise<unknown>, room?: RoomId): Promise<void> {
    if (signal.aborted) return;
    try {
      await run();
    } catch (error) {
      log("warn", `sweeper: ${name} failed; it is tried again`, { room, reason: messageOf(error) });
    }
  }

  async function sweep(): Promise<void> {
    for (const duty of deps.duties) await attempt(duty.name, duty.run);
    await attempt("listing rooms", async () => {
      for await (const room of deps.rooms()) {
        for (const duty of deps.roomDuties) {
          await attempt(duty.name, () => duty.run(room), room);
        }
        if (signal.aborted) return;
      }
    });
  }

  async function loop(): Promise<void> {
    try {
      for (;;) {
        await delay(deps.everyMs, signal);
        await sweep();
      }
    } catch (error) {
      if (!isAbort(error)) throw error;
    }
  }

  return {
    start() {
      running ??= loop();
    },
    async stop() {
      stopping.abort();
      await running;
    },
    sweep,
  };
}

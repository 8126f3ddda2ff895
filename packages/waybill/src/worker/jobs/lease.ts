// Keeps an attempt the worker's: renews its lease and its supply of event numbers, also ahead of time when a
// flood of output uses them up or when the job's state has changed.
import type { Adjusted, JobId, RoomId } from "@waybill/sdk/protocol";
import { isAbort, messageOf } from "@waybill/sdk/protocol";
import { isStaleOrGone } from "../errors.ts";
import type { EventLog } from "../events/event-log.ts";
import type { HubCalls, Log } from "../ports.ts";

export type LeaseState = "assigned" | "running" | "paused" | "stopping";

export type LeaseInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly job: JobId;
  readonly attempt: number;
  readonly log: EventLog;
  readonly intervalMs: number;
  readonly state: () => LeaseState;
  /** What the trainer has confirmed of `adjust` so far. */
  readonly adjusted: () => Adjusted | undefined;
  readonly onReserved: (seqReserved: number) => void;
  /** The attempt is somebody else's now, or the job is gone. */
  readonly onLost: (reason: string) => void;
  readonly report: Log;
};

/** Renewed early when fewer numbers than this are left: half of what a renewal gives. */
const LOW_SEQS = 50_000;

export class Lease {
  readonly #init: LeaseInit;
  readonly #stopped = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> | undefined;
  #again = false;
  #unsubscribe: (() => void) | undefined;
  /** Last number when numbers were last asked for; not asked again before more are used. */
  #askedAt = -1;

  constructor(init: LeaseInit) {
    this.#init = init;
  }

  start(): void {
    this.#timer = setInterval(() => this.renewNow(), this.#init.intervalMs);
    this.#unsubscribe = this.#init.log.subscribe(() => {
      const { log } = this.#init;
      if (log.seqsLeft >= LOW_SEQS || this.#renewing !== undefined) return;
      if (log.lastUsedSeq === this.#askedAt) return;
      this.#askedAt = log.lastUsedSeq;
      this.renewNow();
    });
  }

  /** Renews as soon as the renewal under way is through. */
  renewNow(): void {
    this.#again = true;
    if (this.#stopped.signal.aborted) return;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#unsubscribe?.();
    this.#stopped.abort();
    await this.#renewing;
  }

  async #renew(): Promise<void> {
    while (this.#again && !this.#stopped.signal.aborted) {
      this.#again = false;
      const { hub, room, job, attempt, log, onReserved, onLost, report, state } = this.#init;
      const adjusted = this.#init.adjusted();
      try {
        const { seqReserved } = await hub.call(
          "renewLease",
          {
            params: { room, job },
            body: {
              attempt,
              state: state(),
              lastSeq: log.lastUsedSeq,
              ...(adjusted === undefined ? {} : { adjusted }),
            },
          },
          // The next turn tries again; the state and the number of then are what counts.
          { signal: this.#stopped.signal, retryForMs: this.#init.intervalMs },
        );
        log.reserve(seqReserved);
        onReserved(seqReserved);
      } catch (error) {
        if (isAbort(error) || this.#stopped.signal.aborted) return;
        if (isStaleOrGone(error)) {
          onLost(messageOf(error));
          return;
        }
        // A worker that cannot reach its hub goes on; whether it may publish is decided there.
        report("warn", `${job}: cannot renew the lease: ${messageOf(error)}`);
      }
    }
  }
}

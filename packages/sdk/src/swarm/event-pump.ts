// Carries one subscription: reads the log after what was sent, as far as the subscriber's credit and the
// path's buffer allow, and waits for whichever of the three is missing.
import { type JobEvent, type JobId, isAbort, messageOf } from "../protocol/index.ts";
import type { Clock } from "./clock.ts";
import { splitItems } from "./control-codec.ts";
import type { EventLogReader } from "./event-log.ts";

export type EventPumpInit = {
  readonly job: JobId;
  readonly log: EventLogReader;
  /** Last event the subscriber has. */
  readonly sinceSeq: number;
  /** Events that may be under way beyond what the subscriber has taken. */
  readonly window: number;
  readonly outlet: {
    send(events: JobEvent[]): void;
    /** Undefined when there is room now. */
    drain(signal: AbortSignal): Promise<void> | undefined;
  };
  readonly clock: Clock;
  /** The pump has ended by itself; with a reason, the subscriber must be told. */
  readonly onEnd: (reason: string | undefined) => void;
};

/** Carries one subscription from the log to its path. */
export type Pump = {
  readonly job: JobId;
  start(): void;
  /** Credit: the subscriber has taken everything up to `seq`. */
  taken(seq: number): void;
  /** Something under way was lost: after a rest, send again what was not acknowledged. */
  rewind(): void;
  /** Ends once everything in the log is sent. */
  finish(): void;
  stop(): void;
};

/** Events read at once: bounds memory to this times `LIMITS.eventBytes` per subscriber at worst. */
export const PUMP_BATCH = 128;
/** After a loss; a subscriber that is alive asks again sooner, one that is overrun has time to catch up. */
export const PUMP_REST_MS = 500;

export class EventPump implements Pump {
  readonly job: JobId;
  readonly #init: EventPumpInit;
  readonly #stop = new AbortController();
  #sent: number;
  #taken: number;
  #finishing = false;
  #cancelRest: (() => void) | undefined;
  #wake: (() => void) | undefined;
  #awake = false;

  constructor(init: EventPumpInit) {
    this.#init = init;
    this.job = init.job;
    this.#sent = init.sinceSeq;
    this.#taken = init.sinceSeq;
  }

  start(): void {
    void this.#pump();
  }

  taken(seq: number): void {
    if (seq <= this.#taken || seq > this.#init.log.lastSeq) return;
    this.#taken = seq;
    // After a rewind: it did arrive.
    this.#sent = Math.max(this.#sent, seq);
    this.#poke();
  }

  rewind(): void {
    this.#sent = this.#taken;
    this.#cancelRest ??= this.#init.clock.after(PUMP_REST_MS, () => {
      this.#cancelRest = undefined;
      this.#poke();
    });
  }

  finish(): void {
    this.#finishing = true;
    this.#poke();
  }

  stop(): void {
    this.#stop.abort();
    this.#poke();
  }

  async #pump(): Promise<void> {
    const off = this.#init.log.subscribe(() => this.#poke());
    let reason: string | undefined;
    try {
      // Tells the subscriber that it is served, before anything happens.
      await this.#send([], this.#sent);
      reason = await this.#run();
    } catch (error) {
      reason = messageOf(error);
    }
    off();
    this.#cancelRest?.();
    if (!this.#stop.signal.aborted) this.#init.onEnd(reason);
  }

  /** Runs until stopped, or gives the reason why there is nothing more to send. */
  async #run(): Promise<string | undefined> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const { log, window } = this.#init;
      const credit = this.#taken + window - this.#sent;
      if (this.#cancelRest !== undefined) {
        // Resting after a loss.
      } else if (log.lastSeq > this.#sent && credit > 0) {
        const from = this.#sent;
        const events = await log.read(from, Math.min(credit, PUMP_BATCH));
        if (signal.aborted) return undefined;
        if (events.length > 0) {
          await this.#sendAll(events, from);
          continue;
        }
      } else if (this.#finishing && log.lastSeq <= this.#sent) {
        return "the worker has ended the job";
      }
      await this.#poked();
    }
    return undefined;
  }

  /** Sends what was read after `from`, a message's worth at a time, unless the pump is rewound meanwhile. */
  async #sendAll(events: readonly JobEvent[], from: number): Promise<void> {
    for (const piece of splitItems(events)) {
      if (this.#sent !== from || this.#cancelRest !== undefined) return;
      from = await this.#send(piece, from);
    }
  }

  /** Gives the number of the last event sent. */
  async #send(events: JobEvent[], from: number): Promise<number> {
    const { outlet } = this.#init;
    const { signal } = this.#stop;
    try {
      const room = outlet.drain(signal);
      if (room !== undefined) await room;
      if (signal.aborted || this.#sent !== from) return from;
      outlet.send(events);
      this.#sent = events.at(-1)?.seq ?? from;
    } catch (error) {
      // No path, or it broke: what was under way may be lost with it.
      if (!isAbort(error) && !signal.aborted) this.rewind();
    }
    return this.#sent;
  }

  #poke(): void {
    this.#awake = true;
    this.#wake?.();
  }

  async #poked(): Promise<void> {
    if (!this.#awake) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    this.#awake = false;
  }
}

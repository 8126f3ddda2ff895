// Carries one subscription: reads the log after what was sent, as far as the subscriber's credit and the
// path's buffer allow, and waits for whichever of the three is missing.
import { type JobEvent, type JobId, isAbort } from "../protocol/index.ts";
import type { Clock } from "./clock.ts";
import { splitItems } from "./control-codec.ts";
import type { EventLogReader } from "./event-log.ts";
import { PUMP_BATCH, PumpLoop, type Round } from "./pump-loop.ts";

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

export class EventPump implements Pump {
  readonly job: JobId;
  readonly #init: EventPumpInit;
  readonly #loop: PumpLoop;
  #sent: number;
  #taken: number;
  #greeted = false;

  constructor(init: EventPumpInit) {
    this.#init = init;
    this.job = init.job;
    this.#sent = init.sinceSeq;
    this.#taken = init.sinceSeq;
    const { log, clock, onEnd } = init;
    this.#loop = new PumpLoop({ log, clock, onEnd, round: () => this.#round() });
  }

  start(): void {
    this.#loop.start();
  }

  taken(seq: number): void {
    if (seq <= this.#taken || seq > this.#init.log.lastSeq) return;
    this.#taken = seq;
    // After a rewind: it did arrive.
    this.#sent = Math.max(this.#sent, seq);
    this.#loop.poke();
  }

  rewind(): void {
    this.#sent = this.#taken;
    this.#loop.rest();
  }

  finish(): void {
    this.#loop.finish();
  }

  stop(): void {
    this.#loop.stop();
  }

  async #round(): Promise<Round> {
    const { log, window } = this.#init;
    if (!this.#greeted) {
      this.#greeted = true;
      // Tells the subscriber that it is served, before anything happens.
      await this.#send([], this.#sent);
      return "again";
    }
    if (this.#loop.resting) return "wait";
    const credit = this.#taken + window - this.#sent;
    if (log.lastSeq > this.#sent && credit > 0) {
      const from = this.#sent;
      const events = await log.read(from, Math.min(credit, PUMP_BATCH));
      if (this.#loop.signal.aborted || events.length === 0) return "wait";
      await this.#sendAll(events, from);
      return "again";
    }
    const done = this.#loop.finishing && log.lastSeq <= this.#sent;
    return done ? { over: "the worker has ended the job" } : "wait";
  }

  /** Sends what was read after `from`, a message's worth at a time, unless the pump is rewound meanwhile. */
  async #sendAll(events: readonly JobEvent[], from: number): Promise<void> {
    for (const piece of splitItems(events)) {
      if (this.#sent !== from || this.#loop.resting) return;
      from = await this.#send(piece, from);
    }
  }

  /** Gives the number of the last event sent. */
  async #send(events: JobEvent[], from: number): Promise<number> {
    const { outlet } = this.#init;
    const { signal } = this.#loop;
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
}

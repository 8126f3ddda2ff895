// Carries a subscription of the newest: what cannot be sent now gathers in a backlog that is thinned out
// (peer-channel.md §5), so that a slow viewer sees the present, and everything that must be seen.
//
//   log ─▶ backlog (thinned above a bound) ─▶ pieces (one message each) ─▶ path
import { type JobEvent, type JobId, type LeftOut, isAbort } from "../protocol/index.ts";
import type { Clock } from "./clock.ts";
import { splitItems } from "./control-codec.ts";
import { type BacklogItem, EventBacklog } from "./event-backlog.ts";
import type { EventLogReader } from "./event-log.ts";
import type { Pump } from "./event-pump.ts";
import { PUMP_BATCH, PumpLoop, type Round } from "./pump-loop.ts";

export type LatestPumpInit = {
  readonly job: JobId;
  readonly log: EventLogReader;
  /** Last event the subscriber has. */
  readonly sinceSeq: number;
  readonly outlet: {
    send(events: JobEvent[], left: LeftOut[]): void;
    /** Undefined when there is room now. */
    drain(signal: AbortSignal): Promise<void> | undefined;
  };
  readonly clock: Clock;
  /** The pump has ended by itself; with a reason, the subscriber must be told. */
  readonly onEnd: (reason: string | undefined) => void;
};

/** Below this many events under way another message goes out: a few screens, a quarter of what a viewer must take. */
const UNDER_WAY = 128;

export class LatestPump implements Pump {
  readonly job: JobId;
  readonly #init: LatestPumpInit;
  readonly #loop: PumpLoop;
  readonly #backlog: EventBacklog;
  #pieces: BacklogItem[][] = [];
  /** Numbers of the events sent and not taken. */
  #underWay: number[] = [];
  /** Last number in the backlog, or sent. */
  #gathered: number;
  #taken: number;
  #greeted = false;
  #draining = false;

  constructor(init: LatestPumpInit) {
    this.#init = init;
    this.job = init.job;
    this.#gathered = init.sinceSeq;
    this.#taken = init.sinceSeq;
    this.#backlog = new EventBacklog(init.sinceSeq);
    const { log, clock, onEnd } = init;
    this.#loop = new PumpLoop({ log, clock, onEnd, round: () => this.#round() });
  }

  start(): void {
    this.#loop.start();
  }

  taken(seq: number): void {
    if (seq <= this.#taken || seq > this.#init.log.lastSeq) return;
    this.#taken = seq;
    this.#underWay = this.#underWay.filter((sent) => sent > seq);
    // After a loss: it did arrive.
    if (this.#loop.resting) this.#goBack(seq);
    this.#loop.poke();
  }

  rewind(): void {
    this.#goBack(this.#taken);
    this.#loop.rest();
  }

  finish(): void {
    this.#loop.finish();
  }

  stop(): void {
    this.#loop.stop();
  }

  #goBack(seq: number): void {
    this.#gathered = seq;
    this.#backlog.clear(seq);
    this.#pieces = [];
    this.#underWay = [];
  }

  async #round(): Promise<Round> {
    await this.#gather();
    if (this.#loop.signal.aborted) return "wait";
    this.#sendWhatMay();
    const done = this.#loop.finishing && this.#done;
    return done ? { over: "the worker has ended the job" } : "wait";
  }

  get #done(): boolean {
    const { lastSeq } = this.#init.log;
    return this.#pieces.length === 0 && this.#backlog.empty && this.#gathered >= lastSeq;
  }

  /** Takes what the log has into the backlog; a full one is emptied into pieces first, when those are gone. */
  async #gather(): Promise<void> {
    const { log } = this.#init;
    while (!this.#loop.signal.aborted && !this.#loop.resting) {
      if (this.#backlog.full) {
        this.#sendWhatMay();
        if (this.#backlog.full) return;
        continue;
      }
      const from = this.#gathered;
      if (from >= log.lastSeq) return;
      const events = await log.read(from, PUMP_BATCH);
      // Went back meanwhile, or nothing could be read: looked at again when poked.
      if (this.#gathered !== from || events.length === 0) return;
      for (const event of events) {
        if (this.#backlog.full) break;
        this.#backlog.push(event);
        this.#gathered = event.seq;
      }
    }
  }

  #sendWhatMay(): void {
    while (!this.#loop.resting && !this.#loop.signal.aborted) {
      const more = !this.#backlog.empty && this.#underWay.length < UNDER_WAY;
      if (this.#greeted && this.#pieces.length === 0 && !more) return;
      // Until the path takes it, it may still be thinned out.
      if (!this.#writable()) return;
      if (this.#pieces.length === 0 && more) this.#pieces = splitItems(this.#backlog.take());
      this.#send(this.#pieces[0] ?? []);
    }
  }

  /** Whether the path takes a message now; when not, pokes once it does. */
  #writable(): boolean {
    if (this.#draining) return false;
    let room: Promise<void> | undefined;
    try {
      room = this.#init.outlet.drain(this.#loop.signal);
    } catch {
      this.rewind();
      return false;
    }
    if (room === undefined) return true;
    this.#draining = true;
    room
      .catch((error: unknown) => {
        if (!isAbort(error) && !this.#loop.signal.aborted) this.rewind();
      })
      .finally(() => {
        this.#draining = false;
        this.#loop.poke();
      });
    return false;
  }

  #send(piece: readonly BacklogItem[]): void {
    const events = piece.map(({ event }) => event);
    try {
      this.#init.outlet.send(
        events,
        piece.flatMap(({ left }) => left ?? []),
      );
    } catch {
      // No path, or it broke: what was under way may be lost with it.
      this.rewind();
      return;
    }
    // Also tells the subscriber that it is served, before anything happens.
    this.#greeted = true;
    if (this.#pieces[0] === piece) this.#pieces.shift();
    for (const { seq } of events) this.#underWay.push(seq);
  }
}

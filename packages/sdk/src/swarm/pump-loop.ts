// What the carriers of subscriptions have in common: round after round until nothing is left to do, then a wait for news;
// a rest after a loss; and one end.
import { messageOf } from "../protocol/index.ts";
import type { Clock } from "./clock.ts";
import type { EventLogReader } from "./event-log.ts";

/** What a round comes to: another at once, nothing to do before there is news, or the end and its reason. */
export type Round = "again" | "wait" | { readonly over: string };

export type PumpLoopInit = {
  readonly log: EventLogReader;
  readonly clock: Clock;
  readonly round: () => Promise<Round>;
  /** The loop has ended by itself; with a reason, the subscriber must be told. */
  readonly onEnd: (reason: string | undefined) => void;
};

/** Events read at once: bounds memory to this times `LIMITS.eventBytes` per subscriber at worst. */
export const PUMP_BATCH = 128;
/** After a loss; a subscriber that is alive asks again sooner, one that is overrun has time to catch up. */
const REST_MS = 500;

export class PumpLoop {
  readonly #init: PumpLoopInit;
  readonly #stop = new AbortController();
  #finishing = false;
  #cancelRest: (() => void) | undefined;
  #wake: (() => void) | undefined;
  #awake = false;

  constructor(init: PumpLoopInit) {
    this.#init = init;
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Whether it is to end once everything is sent. */
  get finishing(): boolean {
    return this.#finishing;
  }

  /** Whether it waits after a loss: nothing is to be sent. */
  get resting(): boolean {
    return this.#cancelRest !== undefined;
  }

  start(): void {
    void this.#run();
  }

  /** There is news. */
  poke(): void {
    this.#awake = true;
    this.#wake?.();
  }

  /** Something under way was lost. */
  rest(): void {
    this.#cancelRest ??= this.#init.clock.after(REST_MS, () => {
      this.#cancelRest = undefined;
      this.poke();
    });
  }

  finish(): void {
    this.#finishing = true;
    this.poke();
  }

  stop(): void {
    this.#stop.abort();
    this.poke();
  }

  async #run(): Promise<void> {
    const { log, onEnd } = this.#init;
    const off = log.subscribe(() => this.poke());
    let reason: string | undefined;
    try {
      reason = await this.#rounds();
    } catch (error) {
      reason = messageOf(error);
    }
    off();
    this.#cancelRest?.();
    if (!this.#stop.signal.aborted) onEnd(reason);
  }

  async #rounds(): Promise<string | undefined> {
    while (!this.#stop.signal.aborted) {
      const round = await this.#init.round();
      if (this.#stop.signal.aborted) return undefined;
      if (round === "again") continue;
      if (round !== "wait") return round.over;
      await this.#poked();
    }
    return undefined;
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

// The pulse of a link: pings on its path every 5 s, and finds out when nobody answers them any more.
import type { Clock } from "./clock.ts";

export type HeartbeatInit = {
  readonly clock: Clock;
  /** Sends a ping with this time on the best path. */
  readonly ping: (t: number) => void;
  /** Whether silence matters: an open channel that answers no ping is dead. */
  readonly watched: () => boolean;
  /** Whether to go on after this beat. */
  readonly wanted: () => boolean;
  readonly onSilence: () => void;
  /** The last ping was not answered before the next: the path may be about to break. */
  readonly onLate: () => void;
};

/** Each 5 s, and gone after three without an answer: within what people notice, far above any jitter. */
const PING_MS = 5000;
const SILENT_MS = 15_000;
/** After the peer has come or gone its channel may be dead: one answer is owed within this time. */
const PROBE_MS = 2000;

export class Heartbeat {
  readonly #init: HeartbeatInit;
  #pongAt = 0;
  #cancel = () => {};
  #cancelProbe = () => {};

  constructor(init: HeartbeatInit) {
    this.#init = init;
  }

  /** Begins to beat, at once; a channel that has just opened counts as heard. */
  start(): void {
    this.#pongAt = this.#init.clock.now();
    this.#beat();
  }

  /** A pong came over the channel. */
  heard(): void {
    this.#pongAt = this.#init.clock.now();
  }

  /** Asks for an answer sooner than the next beat would. */
  probe(): void {
    const { clock, ping, watched, onSilence } = this.#init;
    if (!watched()) return;
    const askedAt = clock.now();
    ping(askedAt);
    this.#cancelProbe();
    this.#cancelProbe = clock.after(PROBE_MS, () => {
      if (watched() && this.#pongAt < askedAt) onSilence();
    });
  }

  stop(): void {
    this.#cancel();
    this.#cancelProbe();
  }

  #beat(): void {
    const { clock, ping, watched, wanted, onSilence, onLate } = this.#init;
    this.#cancel();
    const askedAt = clock.now();
    ping(askedAt);
    this.#cancel = clock.after(PING_MS, () => {
      if (watched() && clock.now() - this.#pongAt >= SILENT_MS) onSilence();
      else if (watched() && this.#pongAt < askedAt) onLate();
      if (wanted()) this.#beat();
    });
  }
}

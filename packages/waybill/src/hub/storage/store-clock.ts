// The store's clock, learned from the dates of its answers. A signature's time is judged by it: a store refuses what
// seems 15 minutes from the future, and ends early what seems to be signed long ago.
import type { Clock } from "../log.ts";

/** Dates have whole seconds and answers travel; a smaller difference costs nothing and is left alone. */
const IGNORED_MS = 30_000;
/** How often the difference is looked at. */
const LOOK_EVERY_MS = 10_000;

export class StoreClock {
  readonly #clock: Clock;
  #offsetMs = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Learns from a `Date` header that has just come; answers whether signatures have another time from now on. */
  note(date: string): boolean {
    const nowMs = this.#clock();
    if (Math.abs(nowMs - this.#lookedMs) < LOOK_EVERY_MS) return false;
    const measuredMs = Date.parse(date) - nowMs;
    if (Number.isNaN(measuredMs)) return false;
    this.#lookedMs = nowMs;
    const offsetMs = Math.abs(measuredMs) < IGNORED_MS ? 0 : measuredMs;
    const changed = Math.abs(offsetMs - this.#offsetMs) >= IGNORED_MS;
    this.#offsetMs = offsetMs;
    return changed;
  }

  /** Milliseconds since 1970, as the store counts them. */
  now(): number {
    return this.#clock() + this.#offsetMs;
  }
}

// A token bucket in messages and bytes that says how long to stop reading, rather than what to drop: TCP then
// slows the sender, and nothing is lost (docs/protocol/signaling.md §4).

/** A subscriber's worker relays a few hundred frames a second at most; this is an order above. */
const MESSAGES_PER_SECOND = 4000;
const BYTES_PER_SECOND = 16 * 1024 * 1024;
/** Full buckets hold two seconds' worth, so that a burst after a reconnect passes at once. */
const BURST_SECONDS = 2;

/** Meters one socket. */
export class RateGate {
  readonly #now: () => number;
  /** What may still be read at once; negative means debt. */
  #messages = MESSAGES_PER_SECOND * BURST_SECONDS;
  #bytes = BYTES_PER_SECOND * BURST_SECONDS;
  #atMs: number;

  constructor(now: () => number) {
    this.#now = now;
    this.#atMs = now();
  }

  /** Accounts for one message of `bytes`; answers the milliseconds to stop reading for, 0 mostly. */
  take(bytes: number): number {
    const nowMs = this.#now();
    const seconds = Math.max(0, nowMs - this.#atMs) / 1000;
    this.#atMs = nowMs;
    this.#messages = refilled(this.#messages, MESSAGES_PER_SECOND, seconds) - 1;
    this.#bytes = refilled(this.#bytes, BYTES_PER_SECOND, seconds) - bytes;
    const owedSeconds = Math.max(
      -this.#messages / MESSAGES_PER_SECOND,
      -this.#bytes / BYTES_PER_SECOND,
    );
    return owedSeconds > 0 ? Math.ceil(owedSeconds * 1000) : 0;
  }
}

function refilled(credit: number, perSecond: number, seconds: number): number {
  return Math.min(perSecond * BURST_SECONDS, credit + perSecond * seconds);
}

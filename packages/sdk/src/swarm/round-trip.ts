// The round trip of one path, smoothed as TCP does it (RFC 6298 §2: a new sample counts one eighth).
const GAIN = 1 / 8;

export class RoundTrip {
  #ms: number | undefined;
  #leastMs: number | undefined;

  get ms(): number | undefined {
    return this.#ms;
  }

  /** The path's own: what waits in queues is not in it. */
  get leastMs(): number | undefined {
    return this.#leastMs;
  }

  /** Takes a sample, milliseconds; answers the smoothed value. */
  add(sampleMs: number): number {
    const ms = Math.max(0, sampleMs);
    this.#leastMs = Math.min(ms, this.#leastMs ?? ms);
    this.#ms = this.#ms === undefined ? ms : this.#ms + GAIN * (ms - this.#ms);
    return this.#ms;
  }

  /** Another path. */
  reset(): void {
    this.#ms = undefined;
    this.#leastMs = undefined;
  }
}

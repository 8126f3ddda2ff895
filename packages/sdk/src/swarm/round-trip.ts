// The round trip of one path, smoothed as TCP does it (RFC 6298 §2: a new sample counts one eighth).
const GAIN = 1 / 8;

export class RoundTrip {
  #ms: number | undefined;

  get ms(): number | undefined {
    return this.#ms;
  }

  /** Takes a sample, milliseconds; answers the smoothed value. */
  add(sampleMs: number): number {
    const ms = Math.max(0, sampleMs);
    this.#ms = this.#ms === undefined ? ms : this.#ms + GAIN * (ms - this.#ms);
    return this.#ms;
  }

  /** Another path. */
  reset(): void {
    this.#ms = undefined;
  }
}

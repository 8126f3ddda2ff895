// So many at once, and the others in the order in which they came: a crowd that wants the same thing waits for it instead of
// going elsewhere.

export class Turns {
  readonly #places: number;
  readonly #maxWaiting: number;
  readonly #waiting = new Set<() => void>();
  #busy = 0;

  /** `maxWaiting`: who comes after so many is turned away. */
  constructor(places: number, maxWaiting: number) {
    this.#places = places;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * Resolves with true when it is one's turn (`leave()` ends it), with false when there are too many, it takes longer than
   * `forMs`, or the signal is aborted.
   */
  async take(forMs: number, signal: AbortSignal): Promise<boolean> {
    if (this.#busy < this.#places) {
      this.#busy += 1;
      return true;
    }
    if (this.#waiting.size >= this.#maxWaiting || signal.aborted) return false;
    return new Promise((resolve) => {
      const settle = (isTurn: boolean) => {
        this.#waiting.delete(next);
        clearTimeout(timer);
        signal.removeEventListener("abort", giveUp);
        resolve(isTurn);
      };
      const next = () => settle(true);
      const giveUp = () => settle(false);
      const timer = setTimeout(giveUp, forMs);
      signal.addEventListener("abort", giveUp, { once: true });
      this.#waiting.add(next);
    });
  }

  leave(): void {
    const [next] = this.#waiting;
    // The place goes from one to the other.
    if (next === undefined) this.#busy -= 1;
    else next();
  }
}

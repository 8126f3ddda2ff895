// A cache of models of one size: the least recently used gives way, as in the worker's cache.

export class Lru {
  readonly #capacity: number;
  /** In order of use: the first was used longest ago. */
  readonly #held = new Set<number>();

  /** `capacity` models fit. */
  constructor(capacity: number) {
    this.#capacity = Math.floor(capacity);
  }

  /** Whether the model is here; it then counts as used now. */
  use(model: number): boolean {
    if (!this.#held.delete(model)) return false;
    this.#held.add(model);
    return true;
  }

  /** Whether the model is here. */
  has(model: number): boolean {
    return this.#held.has(model);
  }

  /** Takes a model in. */
  add(model: number): void {
    if (this.#capacity === 0) return;
    this.#held.delete(model);
    this.#held.add(model);
    for (const oldest of this.#held) {
      if (this.#held.size <= this.#capacity) return;
      this.#held.delete(oldest);
    }
  }
}

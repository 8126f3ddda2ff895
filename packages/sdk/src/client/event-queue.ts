// What lies between a watch and its consumer: pushed as they come, taken one at a time, ended once.

export class EventQueue<T> {
  #items: T[] = [];
  /** Index of the next item; shifting an array of thousands one by one would copy it each time. */
  #head = 0;
  #ended = false;
  #error: Error | undefined;
  #wake = () => {};

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(items: readonly T[]): void {
    if (items.length === 0) return;
    for (const item of items) this.#items.push(item);
    this.#wake();
  }

  /** Nothing follows what is queued; then `error` is thrown, when there is one. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  /** Drops what is queued. */
  clear(): void {
    this.#items = [];
    this.#head = 0;
  }

  /** The next item when it is there already. */
  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head += 1;
    if (this.#head === this.#items.length) this.clear();
    return item;
  }

  /** The next item, awaited; undefined at the end. */
  async next(): Promise<T | undefined> {
    for (;;) {
      const item = this.shift();
      if (item !== undefined) return item;
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

// Events between a watch and its consumer: pushed as they come, taken one at a time, ended once.
import type { JobEvent } from "../protocol/index.ts";

export class EventQueue {
  #events: JobEvent[] = [];
  /** Index of the next event; shifting an array of thousands one by one would copy it each time. */
  #head = 0;
  #ended = false;
  #error: Error | undefined;
  #wake = () => {};

  get length(): number {
    return this.#events.length - this.#head;
  }

  push(events: readonly JobEvent[]): void {
    if (events.length === 0) return;
    for (const event of events) this.#events.push(event);
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
    this.#events = [];
    this.#head = 0;
  }

  /** The next event when it is there already. */
  shift(): JobEvent | undefined {
    const event = this.#events[this.#head];
    if (event === undefined) return undefined;
    this.#head += 1;
    if (this.#head === this.#events.length) this.clear();
    return event;
  }

  /** The next event, awaited; undefined at the end. */
  async next(): Promise<JobEvent | undefined> {
    for (;;) {
      const event = this.shift();
      if (event !== undefined) return event;
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

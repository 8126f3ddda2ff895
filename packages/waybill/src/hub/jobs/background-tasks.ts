// Work that nobody waits for, except `stop`: nothing is fire-and-forget, and what fails is logged.
import { messageOf } from "@waybill/sdk/protocol";
import type { Log } from "../log.ts";

export class BackgroundTasks {
  readonly #log: Log;
  readonly #running = new Set<Promise<unknown>>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Starts a task; its failure is a warning in the log. */
  run(what: string, task: () => Promise<unknown>): void {
    void this.finish(
      task().catch((error: unknown) => this.#log("warn", `could not ${what}: ${messageOf(error)}`)),
    );
  }

  /** Tracks a promise its caller waits for, so that `idle` waits too. */
  async finish<T>(promise: Promise<T>): Promise<T> {
    this.#running.add(promise);
    try {
      return await promise;
    } finally {
      this.#running.delete(promise);
    }
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }
}

// One at a time for each artifact within a process: two jobs that start together pull once.
import { abortReason } from "@waybill/sdk/timing";

export class Turns {
  readonly #turns = new Map<string, Promise<unknown>>();

  /** Runs it after whoever came before; the signal ends the waiting. */
  take<T>(key: string, run: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#turns.get(key);
    const mine = settled(before, signal).then(run);
    // Whoever is next waits for both: one that stops waiting does not let the next pass the first.
    const turn = Promise.allSettled([before, mine]).finally(() => {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
    });
    this.#turns.set(key, turn);
    return mine;
  }
}

/** Resolves when there is nothing to wait for any more; rejects with the signal's reason. */
async function settled(before: Promise<unknown> | undefined, signal?: AbortSignal): Promise<void> {
  if (before !== undefined) {
    const aborted = Promise.withResolvers<void>();
    const abort = () => aborted.resolve();
    if (signal?.aborted === true) abort();
    signal?.addEventListener("abort", abort, { once: true });
    await Promise.race([before, aborted.promise]);
    signal?.removeEventListener("abort", abort);
  }
  if (signal?.aborted === true) throw abortReason(signal);
}

// The one writer of a path: hands messages to a socket or channel while its buffer is low, keeps a bounded
// few beyond that, and lets senders wait. `bufferedamountlow` has one slot per channel; it is used here only.
import { WaybillError } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";

export type Outlet<T> = {
  send(item: T): void;
  /** Bytes accepted and not yet on the wire. */
  readonly bufferedBytes: number;
  /** Calls `run` once when the buffer is low again; the result cancels it. */
  whenLow(run: () => void): () => void;
};

/** Enough to fill 200 Mbit/s at 10 ms; more only adds delay to the newest event. */
export const HIGH_WATER_BYTES = 256 * 1024;
/** A quarter of high water: refilled before it runs dry. */
export const LOW_WATER_BYTES = 64 * 1024;
/** Senders that do not wait (acks, pings) fit in here many times; who exceeds it is not waiting at all. */
const MAX_QUEUED_BYTES = 1024 * 1024;

type Item<T> = { readonly value: T; readonly bytes: number };

export class BoundedWriter<T> {
  readonly #outlet: Outlet<T>;
  #queue: Item<T>[] = [];
  #queuedBytes = 0;
  #cancelLow: (() => void) | undefined;
  #waiting = new Set<(error: Error | undefined) => void>();
  #closed: Error | undefined;

  constructor(outlet: Outlet<T>) {
    this.#outlet = outlet;
  }

  /** Whether a sender that paces itself may write now. */
  get writable(): boolean {
    return (
      this.#closed === undefined &&
      this.#queue.length === 0 &&
      this.#outlet.bufferedBytes < HIGH_WATER_BYTES
    );
  }

  /** Sends or queues; throws `unreachable` when closed or when a sender that ignored `drain` has filled the queue. */
  write(value: T, bytes: number): void {
    if (this.#closed !== undefined) throw this.#closed;
    if (this.writable) {
      this.#outlet.send(value);
      return;
    }
    if (this.#queuedBytes + bytes > MAX_QUEUED_BYTES) {
      throw new WaybillError("unreachable", "the peer takes messages too slowly");
    }
    this.#queue.push({ value, bytes });
    this.#queuedBytes += bytes;
    this.#watch();
  }

  /** Resolves when writable; rejects when closed or aborted. */
  async drain(signal?: AbortSignal): Promise<void> {
    if (this.writable) return;
    if (this.#closed !== undefined) throw this.#closed;
    await new Promise<void>((resolve, reject) => {
      const finish = (error: Error | undefined) => {
        this.#waiting.delete(finish);
        signal?.removeEventListener("abort", onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      const onAbort = () => {
        if (signal !== undefined) finish(abortReason(signal));
      };
      if (signal?.aborted === true) {
        onAbort();
        return;
      }
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(finish);
      this.#watch();
    });
  }

  /** Drops what is queued and fails who waits, now and later. */
  close(error: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#cancelLow?.();
    this.#lose(error);
  }

  #lose(error: Error): void {
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const finish of this.#waiting) finish(error);
  }

  #watch(): void {
    this.#cancelLow ??= this.#outlet.whenLow(() => {
      this.#cancelLow = undefined;
      this.#flush();
    });
  }

  #flush(): void {
    let sent = 0;
    for (const { value, bytes } of this.#queue) {
      if (this.#outlet.bufferedBytes >= HIGH_WATER_BYTES) break;
      try {
        this.#outlet.send(value);
      } catch (error) {
        // What was queued is lost, as what was under way; the outlet may work again later.
        this.#lose(error instanceof Error ? error : new Error(String(error)));
        return;
      }
      this.#queuedBytes -= bytes;
      sent += 1;
    }
    this.#queue.splice(0, sent);
    if (!this.writable) {
      this.#watch();
      return;
    }
    for (const finish of this.#waiting) finish(undefined);
  }
}

// One stream of the peer's: frames come in any order, the consumer gets its bytes in order. What may be under way or
// waiting here is bounded by the credit given, which follows the consumer (I3).
import { WaybillError } from "../../protocol/index.ts";
import { abortReason } from "../../timing/index.ts";

type Part = { readonly payload: Uint8Array; readonly end: boolean };
export type DataFrame = Part & { readonly offset: number };

export type IncomingStreamInit = {
  readonly id: number;
  /** Bytes that may be under way and waiting here, together. */
  readonly windowBytes: () => number;
  /** Everything below `offset` is here (the end counts one), bytes below `limit` are welcome. */
  readonly credit: (offset: number, limit: number) => void;
  /** The consumer stopped before the end. */
  readonly onStopped: (reason: string) => void;
  /** It has ended, one way or the other. */
  readonly onSettled: (finalOffset: number | undefined) => void;
};

/** Acknowledgements and credit are sent when they have moved by this share of the window. */
const CREDIT_SHARE = 1 / 16;

export class IncomingStream implements AsyncIterable<Uint8Array> {
  readonly #init: IncomingStreamInit;
  readonly #early = new Map<number, Part>();
  #ready: Uint8Array[] = [];
  #next = 0;
  #consumed = 0;
  #ended = false;
  #failed: Error | undefined;
  #settled = false;
  #told = { offset: 0, limit: 0 };
  #wake: (() => void) | undefined;
  #signal: AbortSignal | undefined;
  readonly #onAbort = () => {
    if (this.#signal !== undefined)
      this.#stop(abortReason(this.#signal), "its receiver has stopped");
  };

  constructor(init: IncomingStreamInit, signal: AbortSignal | undefined) {
    this.#init = init;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (signal?.aborted === true) this.#onAbort();
    else this.tell();
  }

  /** Takes a frame; throws `invalid_request` when it is beyond the credit given. */
  take({ offset, payload, end }: DataFrame): void {
    if (this.#settled || this.#ended) return;
    if (offset + payload.length > this.#told.limit) {
      throw new WaybillError("invalid_request", `stream ${this.#init.id} goes beyond its credit`);
    }
    if (offset > this.#next) {
      this.#early.set(offset, { payload, end });
      return;
    }
    // Less: it came twice.
    if (offset < this.#next) return;
    for (
      let part: Part | undefined = { payload, end };
      part !== undefined && !this.#ended;
      part = this.#early.get(this.#next)
    ) {
      this.#early.delete(this.#next);
      this.#append(part);
    }
    if (this.#ended) this.#settle(this.#next + 1);
    else this.#tellWhenMoved();
    this.#wake?.();
  }

  /** The peer gave it up, or no path is left. */
  fail(error: Error): void {
    if (this.#ended) return;
    this.#failed ??= error;
    this.#settle(undefined);
    this.#wake?.();
  }

  /** Says again what is here and what is welcome. */
  tell(): void {
    if (this.#settled) return;
    const limit = Math.max(this.#told.limit, this.#consumed + this.#init.windowBytes());
    this.#told = { offset: this.#next, limit };
    this.#init.credit(this.#next, limit);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        const bytes = this.#ready.shift();
        if (bytes !== undefined) {
          yield bytes;
          this.#consumed += bytes.length;
          this.#tellWhenMoved();
        } else if (this.#ended) return;
        else if (this.#failed !== undefined) throw this.#failed;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.#stop(
        new WaybillError("unreachable", "the stream was given up"),
        "it is not wanted any more",
      );
    }
  }

  #append({ payload, end }: Part): void {
    if (payload.length > 0) this.#ready.push(payload);
    this.#next += payload.length;
    this.#ended = end;
  }

  #tellWhenMoved(): void {
    const windowBytes = this.#init.windowBytes();
    const step = windowBytes * CREDIT_SHARE;
    const limit = this.#consumed + windowBytes;
    if (this.#next - this.#told.offset >= step || limit - this.#told.limit >= step) this.tell();
  }

  #stop(error: Error, reason: string): void {
    if (this.#settled) return;
    this.#ready = [];
    this.#failed ??= error;
    this.#init.onStopped(reason);
    this.#settle(undefined);
    this.#wake?.();
  }

  #settle(finalOffset: number | undefined): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#early.clear();
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#init.onSettled(finalOffset);
  }
}

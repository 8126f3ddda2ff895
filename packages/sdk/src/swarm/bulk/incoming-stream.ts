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
  /** Everything below `offset` is here (the end counts one), bytes below `limit` are welcome; `again`: not news alone. */
  readonly credit: (offset: number, limit: number, again: boolean) => void;
  /** The consumer stopped before the end. */
  readonly onStopped: (reason: string) => void;
  /** It has ended, one way or the other. */
  readonly onSettled: (finalOffset: number | undefined) => void;
};

/** Acknowledgements and credit are sent when they have moved by this share of the window. */
const CREDIT_SHARE = 1 / 16;
/** Frames of 256 bytes fill the largest window with so many: each costs memory of its own, however small it is. */
const MAX_FRAMES = 65_536;

export class IncomingStream implements AsyncIterable<Uint8Array> {
  readonly #init: IncomingStreamInit;
  readonly #early = new Map<number, Part>();
  #earlyBytes = 0;
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

  /** Takes a frame; throws `invalid_request` when no honest sender has sent it, and ends when that would cost memory. */
  take({ offset, payload, end }: DataFrame): void {
    if (this.#settled || this.#ended) return;
    if (offset + payload.length > this.#told.limit) {
      throw new WaybillError("invalid_request", `stream ${this.#init.id} goes beyond its credit`);
    }
    if (payload.length === 0 && !end) {
      throw new WaybillError("invalid_request", `stream ${this.#init.id} has an empty frame`);
    }
    if (offset > this.#next) {
      this.#keep(offset, { payload, end });
      return;
    }
    // Less: it came twice.
    if (offset < this.#next) return;
    for (
      let part: Part | undefined = { payload, end };
      part !== undefined && !this.#ended;
      part = this.#early.get(this.#next)
    ) {
      if (this.#early.delete(this.#next)) this.#earlyBytes -= part.payload.length;
      this.#append(part);
    }
    this.#checkFrames();
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
    this.#say(limit, true);
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

  /** One that came before what it follows. */
  #keep(offset: number, part: Part): void {
    if (this.#early.has(offset)) return;
    this.#early.set(offset, part);
    this.#earlyBytes += part.payload.length;
    // Frames that do not overlap fit between what is here and the limit.
    if (this.#earlyBytes > this.#told.limit - this.#next) this.#refuse("has frames that overlap");
    this.#checkFrames();
  }

  #checkFrames(): void {
    if (this.#early.size + this.#ready.length > MAX_FRAMES) this.#refuse("has too small frames");
  }

  #refuse(what: string): never {
    const error = new WaybillError("invalid_request", `stream ${this.#init.id} ${what}`);
    this.#stop(error, what);
    throw error;
  }

  #say(limit: number, again: boolean): void {
    this.#told = { offset: this.#next, limit };
    this.#init.credit(this.#next, limit, again);
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
    if (this.#settled) return;
    if (this.#next - this.#told.offset >= step || limit - this.#told.limit >= step) {
      this.#say(Math.max(this.#told.limit, limit), false);
    }
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
    this.#earlyBytes = 0;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#init.onSettled(finalOffset);
  }
}

// Streams of the peer's that somebody here reads, and what is remembered of those that are over: a frame or a credit
// that was lost with its connection is asked for or said again.
import { WaybillError } from "../../protocol/index.ts";
import type { Clock } from "../clock.ts";
import { type DataFrame, IncomingStream } from "./incoming-stream.ts";
import type { Lanes } from "./lanes.ts";

export type BulkReceiverInit = {
  readonly lanes: Lanes;
  readonly clock: Clock;
};

/**
 * What one stream may have under way: 16 MiB last for a stall of over a second at 100 Mbit/s, and all streams of a link
 * together for what a small machine can spare.
 */
const STREAM_WINDOW_BYTES = 16 * 1024 * 1024;
const LINK_WINDOW_BYTES = 64 * 1024 * 1024;
const MIN_WINDOW_BYTES = 512 * 1024;
/** Credit is repeated, in case the last was lost. */
const REPEAT_MS = 1000;
const MAX_REMEMBERED = 1024;

type Over = { readonly offset: number } | { readonly reason: string };

export class BulkReceiver {
  readonly #init: BulkReceiverInit;
  readonly #streams = new Map<number, IncomingStream>();
  readonly #over = new Map<number, Over>();
  #cancelRepeat: (() => void) | undefined;

  constructor(init: BulkReceiverInit) {
    this.#init = init;
  }

  get active(): boolean {
    return this.#streams.size > 0;
  }

  accept(id: number, signal: AbortSignal | undefined): AsyncIterable<Uint8Array> {
    if (this.#streams.has(id)) throw new TypeError(`stream ${id} is being read`);
    const { lanes } = this.#init;
    const stream = new IncomingStream(
      {
        id,
        windowBytes: () => this.#windowBytes(),
        credit: (offset, limit, again) => {
          const frame = { type: "credit", stream: id, offset, limit } as const;
          if (again) lanes.tellAll(frame);
          else lanes.tell(frame);
        },
        onStopped: (reason) => {
          this.#remember(id, { reason });
          lanes.tellAll({ type: "abort", stream: id, reason });
        },
        onSettled: (finalOffset) => {
          this.#streams.delete(id);
          if (finalOffset === undefined) return;
          this.#remember(id, { offset: finalOffset });
          this.#answer(id);
        },
      },
      signal,
    );
    if (signal?.aborted !== true) this.#streams.set(id, stream);
    this.#repeat();
    return stream;
  }

  take(id: number, frame: DataFrame): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) this.#answer(id);
    else stream.take(frame);
  }

  /** Its sender gave it up. */
  aborted(id: number, reason: string): void {
    const text = `the peer ended stream ${id}: ${reason}`;
    this.#streams.get(id)?.fail(new WaybillError("unreachable", text));
  }

  /** The connections have changed: what was said over one that is gone may be lost. */
  tellAll(): void {
    for (const stream of this.#streams.values()) stream.tell();
  }

  fail(error: WaybillError): void {
    for (const stream of this.#streams.values()) stream.fail(error);
  }

  /** Ids of the peer's former process mean nothing in its next one. */
  reset(): void {
    this.#over.clear();
  }

  close(): void {
    this.#cancelRepeat?.();
    this.#cancelRepeat = undefined;
  }

  #windowBytes(): number {
    const share = LINK_WINDOW_BYTES / Math.max(1, this.#streams.size);
    return Math.max(MIN_WINDOW_BYTES, Math.min(STREAM_WINDOW_BYTES, share));
  }

  /** To a sender that goes on with a stream that is over here, or was one of an earlier link. */
  #answer(id: number): void {
    const over = this.#over.get(id);
    const { lanes } = this.#init;
    if (over === undefined) {
      lanes.tellAll({ type: "abort", stream: id, reason: "nobody reads it" });
    } else if ("reason" in over) {
      lanes.tellAll({ type: "abort", stream: id, reason: over.reason });
    } else lanes.tellAll({ type: "credit", stream: id, offset: over.offset, limit: over.offset });
  }

  #remember(id: number, over: Over): void {
    this.#over.set(id, over);
    const [oldest] = this.#over.keys();
    if (this.#over.size > MAX_REMEMBERED && oldest !== undefined) this.#over.delete(oldest);
  }

  #repeat(): void {
    this.#cancelRepeat ??= this.#init.clock.after(REPEAT_MS, () => {
      this.#cancelRepeat = undefined;
      this.tellAll();
      if (this.active) this.#repeat();
    });
  }
}

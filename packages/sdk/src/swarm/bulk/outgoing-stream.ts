// One stream of ours on its way: what waits to be sent, what was sent and is not acknowledged, and how far the
// receiver's credit goes. `bulk-sender.ts` decides when a frame is sent and over which connection.
import { BULK_HEADER_BYTES, type WaybillError, writeDataHeader } from "../../protocol/index.ts";
import { abortReason } from "../../timing/index.ts";
import type { FramePool } from "./frame-pool.ts";
import type { Lane } from "./lanes.ts";

export type OutgoingFrame = {
  readonly stream: OutgoingStream;
  readonly buffer: Uint8Array<ArrayBuffer>;
  readonly offset: number;
  /** Payload. */
  length: number;
  end: boolean;
  /** The connection that carries it; undefined until it is sent and when that one broke. */
  lane: Lane | undefined;
  sentAtMs: number;
  copies: number;
};

/** Written and not yet sent: a sender that waits finds this much ready when there is room again. */
const QUEUE_BYTES = 1024 * 1024;
/** Sent and not acknowledged, whatever credit a receiver gives: what ours gives at most (peer-channel.md 47). */
const MAX_UNACKNOWLEDGED_BYTES = 16 * 1024 * 1024;

export class OutgoingStream {
  readonly id: number;
  readonly live: boolean;
  readonly #pool: FramePool;
  readonly #frameBytes: () => number;
  readonly #done = Promise.withResolvers<void>();
  #queue: OutgoingFrame[] = [];
  #queuedBytes = 0;
  #unacknowledged: OutgoingFrame[] = [];
  #position = 0;
  /** As `credit` counts. */
  #sent = 0;
  #acknowledged = 0;
  #limit = 0;
  #endWritten = false;
  #failed: Error | undefined;
  #waiting: (() => void)[] = [];

  constructor(init: {
    readonly id: number;
    readonly live: boolean;
    readonly pool: FramePool;
    /** Header and payload that fit one frame now. */
    readonly frameBytes: () => number;
  }) {
    this.id = init.id;
    this.live = init.live;
    this.#pool = init.pool;
    this.#frameBytes = init.frameBytes;
    // Who ends the stream awaits it; a stream that fails before is told by `write`.
    this.#done.promise.catch(() => undefined);
  }

  /** Resolves when the receiver has everything, the end included. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  /** What the receiver says it has; at most what was sent. */
  get acknowledgedBytes(): number {
    return Math.min(this.#acknowledged, this.#position);
  }

  /** Whether the next frame could be sent. */
  get ready(): boolean {
    const [next] = this.#queue;
    return next !== undefined && this.#covers(next);
  }

  /** Whether nothing but the receiver's credit keeps the next frame. */
  get waitsForCredit(): boolean {
    const [next] = this.#queue;
    return next !== undefined && !this.#covers(next);
  }

  /** Copies the bytes into frames; resolves when there is room for more. `ready` is called as frames become ready. */
  async write(
    bytes: Uint8Array,
    signal: AbortSignal | undefined,
    ready: () => void,
  ): Promise<void> {
    let at = 0;
    while (at < bytes.length) {
      if (this.#failed !== undefined) throw this.#failed;
      if (signal?.aborted === true) throw abortReason(signal);
      if (this.#queuedBytes >= QUEUE_BYTES) {
        await this.#room(signal);
        continue;
      }
      at += this.#append(bytes.subarray(at));
      if (this.#queuedBytes >= QUEUE_BYTES || at === bytes.length) ready();
    }
    if (this.#queuedBytes >= QUEUE_BYTES) await this.#room(signal);
  }

  /** Nothing more is written. */
  finish(): void {
    if (this.#endWritten || this.#failed !== undefined) return;
    this.#endWritten = true;
    const tail = this.#queue.at(-1) ?? this.#newFrame();
    tail.end = true;
  }

  /** The next frame the credit covers, now in the care of the sender. */
  take(): OutgoingFrame | undefined {
    const [next] = this.#queue;
    if (next === undefined || !this.#covers(next)) return undefined;
    this.#queue.shift();
    this.#queuedBytes -= next.length;
    this.#unacknowledged.push(next);
    this.#sent = endOf(next);
    if (this.#queuedBytes < QUEUE_BYTES / 2) this.#wake();
    return next;
  }

  /** The frame as it goes over the wire. */
  encode(frame: OutgoingFrame): Uint8Array<ArrayBuffer> {
    writeDataHeader(frame.buffer, { stream: this.id, offset: frame.offset, end: frame.end });
    return frame.buffer.subarray(0, BULK_HEADER_BYTES + frame.length);
  }

  /** Its receiver has all below `offset` (the end counts one) and takes what is below `limit`. */
  credit(offset: number, limit: number): void {
    this.#limit = Math.max(this.#limit, limit);
    this.#acknowledged = Math.max(this.#acknowledged, Math.min(offset, this.#sent));
    let known = 0;
    for (const frame of this.#unacknowledged) {
      if (endOf(frame) > this.#acknowledged) break;
      known += 1;
    }
    for (const frame of this.#unacknowledged.splice(0, known)) this.#pool.give(frame.buffer);
    const all = this.#queue.length === 0 && this.#unacknowledged.length === 0;
    if (this.#endWritten && all) this.#done.resolve();
  }

  isUnacknowledged(frame: OutgoingFrame): boolean {
    return this.#unacknowledged.includes(frame);
  }

  /** Frames that wait for their acknowledgement, the oldest first. */
  get unacknowledged(): readonly OutgoingFrame[] {
    return this.#unacknowledged;
  }

  /** Frames that went over a connection that broke. */
  lostWith(lane: Lane): OutgoingFrame[] {
    return this.#unacknowledged.filter((frame) => frame.lane === lane);
  }

  fail(error: WaybillError | Error): void {
    if (this.#failed !== undefined) return;
    this.#failed = error;
    this.#queue = [];
    this.#unacknowledged = [];
    this.#queuedBytes = 0;
    this.#done.reject(error);
    this.#wake();
  }

  #covers(frame: OutgoingFrame): boolean {
    const end = frame.offset + frame.length;
    return end <= this.#limit && end <= this.#acknowledged + MAX_UNACKNOWLEDGED_BYTES;
  }

  #append(bytes: Uint8Array): number {
    const last = this.#queue.at(-1);
    const frame = last !== undefined && spaceOf(last) > 0 ? last : this.#newFrame();
    const count = Math.min(bytes.length, spaceOf(frame));
    frame.buffer.set(bytes.subarray(0, count), BULK_HEADER_BYTES + frame.length);
    frame.length += count;
    this.#position += count;
    this.#queuedBytes += count;
    return count;
  }

  #newFrame(): OutgoingFrame {
    const frame: OutgoingFrame = {
      stream: this,
      buffer: this.#pool.take(this.#frameBytes()),
      offset: this.#position,
      length: 0,
      end: false,
      lane: undefined,
      sentAtMs: 0,
      copies: 0,
    };
    this.#queue.push(frame);
    return frame;
  }

  async #room(signal: AbortSignal | undefined): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = () => {
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      signal?.addEventListener("abort", wake, { once: true });
      this.#waiting.push(wake);
    });
    if (this.#failed !== undefined) throw this.#failed;
    if (signal?.aborted === true) throw abortReason(signal);
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** What a credit must say to acknowledge it: the end counts one. */
function endOf({ offset, length, end }: OutgoingFrame): number {
  return offset + length + (end ? 1 : 0);
}

function spaceOf(frame: OutgoingFrame): number {
  return frame.buffer.length - BULK_HEADER_BYTES - frame.length;
}

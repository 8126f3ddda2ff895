// Puts frames of outgoing streams on whichever connection has room, and sends those of a broken one again over
// the others: they are kept until the receiver has acknowledged them, which its credit bounds.
import { WaybillError } from "../../protocol/index.ts";
import { abortReason } from "../../timing/index.ts";
import { LANE_LOW_BYTES, MAX_FRAME_BYTES } from "../bulk-lane.ts";
import type { Clock } from "../clock.ts";
import { FramePool } from "./frame-pool.ts";
import type { Lane, Lanes } from "./lanes.ts";
import { type OutgoingFrame, OutgoingStream } from "./outgoing-stream.ts";

/** A stream of bytes to the peer. */
export type BulkWriter = {
  /** Bytes the peer says it has. */
  readonly acknowledgedBytes: number;
  /** Resolves when there is room for more; the bytes are copied before. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the peer has received everything. */
  end(): Promise<void>;
  /** Ends the stream on both sides; idempotent. */
  abort(reason: string): void;
};

export type BulkSenderInit = {
  readonly lanes: Lanes;
  readonly clock: Clock;
  readonly rttMs: () => number;
};

type Credit = { readonly offset: number; readonly limit: number };

/** Credit may come before the stream is opened here; the receiver repeats what is forgotten. */
const MAX_EARLY_CREDITS = 1024;
/** Streams whose abort is repeated to a receiver that missed it. */
const MAX_REMEMBERED = 1024;
/** A frame that a stalled connection holds, or that holds up its stream, goes over a second one after so long. */
const REINJECT_MS = 250;
const LOOK_MS = 100;
const MAX_COPIES = 3;

export class BulkSender {
  readonly #init: BulkSenderInit;
  readonly #pool = new FramePool();
  readonly #streams = new Map<number, OutgoingStream>();
  readonly #early = new Map<number, Credit>();
  readonly #aborted = new Map<number, string>();
  #again: OutgoingFrame[] = [];
  /** Takes turns. */
  #order: OutgoingStream[] = [];
  #held = false;
  #cancelLow: (() => void)[] = [];
  #cancelLook: (() => void) | undefined;

  constructor(init: BulkSenderInit) {
    this.#init = init;
  }

  get active(): boolean {
    return this.#streams.size > 0;
  }

  /** Whether, since the last call, frames that might have been sent waited for a connection. */
  takeHeld(): boolean {
    const held = this.#held;
    this.#held = false;
    return held;
  }

  open(
    id: number,
    options: { readonly signal?: AbortSignal | undefined; readonly live?: boolean },
  ): BulkWriter {
    const { signal, live = false } = options;
    // The id may be of the peer's choice.
    if (this.#streams.has(id)) throw new WaybillError("invalid_request", `stream ${id} is open`);
    const { lanes } = this.#init;
    const frameBytes = () => lanes.maxFrameBytes(MAX_FRAME_BYTES);
    const stream = new OutgoingStream({ id, live, pool: this.#pool, frameBytes });
    this.#streams.set(id, stream);
    if (live) this.#order.unshift(stream);
    else this.#order.push(stream);
    const early = this.#early.get(id);
    this.#early.delete(id);
    if (early !== undefined) stream.credit(early.offset, early.limit);
    const forget = () => {
      signal?.removeEventListener("abort", onAbort);
      this.#forget(stream);
    };
    const abort = (error: Error, reason: string) => {
      if (this.#streams.get(id) !== stream) return;
      remember(this.#aborted, id, reason, MAX_REMEMBERED);
      lanes.tellAll({ type: "abort", stream: id, reason });
      stream.fail(error);
    };
    const onAbort = () => {
      if (signal !== undefined) abort(abortReason(signal), "its sender has stopped");
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    stream.done.then(forget, forget);
    if (signal?.aborted === true) onAbort();
    return {
      get acknowledgedBytes() {
        return stream.acknowledgedBytes;
      },
      write: (bytes) => stream.write(bytes, signal, () => this.pump()),
      end: async () => {
        stream.finish();
        this.pump();
        await stream.done;
      },
      abort: (reason) => abort(new WaybillError("unreachable", reason), reason),
    };
  }

  credit(id: number, credit: Credit): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined) {
      stream.credit(credit.offset, credit.limit);
      this.pump();
      return;
    }
    const reason = this.#aborted.get(id);
    if (reason === undefined) remember(this.#early, id, credit, MAX_EARLY_CREDITS);
    else this.#init.lanes.tellAll({ type: "abort", stream: id, reason });
  }

  /** The receiver takes no more of it. False when it is none of ours. */
  refused(id: number, reason: string): boolean {
    const stream = this.#streams.get(id);
    stream?.fail(new WaybillError("unreachable", `the peer stopped stream ${id}: ${reason}`));
    return stream !== undefined;
  }

  laneLost(lane: Lane): void {
    for (const stream of this.#streams.values()) this.#again.push(...stream.lostWith(lane));
    this.pump();
  }

  fail(error: WaybillError): void {
    this.#early.clear();
    for (const stream of this.#streams.values()) stream.fail(error);
  }

  /** Ids of the peer's former process mean nothing in its next one. */
  reset(): void {
    this.#early.clear();
    this.#aborted.clear();
  }

  close(): void {
    for (const cancel of this.#cancelLow.splice(0)) cancel();
    this.#cancelLook?.();
  }

  /** Sends what can be sent. */
  pump(): void {
    for (const cancel of this.#cancelLow.splice(0)) cancel();
    for (;;) {
      const lane = this.#init.lanes.withRoom();
      if (lane === undefined) break;
      const frame = this.#next();
      if (frame === undefined) {
        this.#reinject();
        return;
      }
      this.#send(frame, lane);
    }
    if (!this.#waiting()) return;
    this.#held = true;
    for (const { bulk } of this.#init.lanes) {
      // One that is full by its window alone has room again with the peer's next report.
      if (bulk.bufferedBytes > LANE_LOW_BYTES) {
        this.#cancelLow.push(bulk.whenLow(() => this.pump()));
      }
    }
  }

  #send(frame: OutgoingFrame, lane: Lane): void {
    frame.lane = lane;
    frame.sentAtMs = this.#init.clock.now();
    frame.copies += 1;
    try {
      lane.send(frame.stream.encode(frame), frame.length);
    } catch {
      // Its closing is being reported; until then it takes nothing.
      lane.retired = true;
      this.#again.push(frame);
    }
  }

  #next(): OutgoingFrame | undefined {
    for (let frame = this.#again.shift(); frame !== undefined; frame = this.#again.shift()) {
      if (frame.stream.isUnacknowledged(frame)) return frame;
    }
    for (const [i, stream] of this.#order.entries()) {
      const frame = stream.take();
      if (frame === undefined) continue;
      if (!stream.live) this.#order.push(...this.#order.splice(i, 1));
      return frame;
    }
    return undefined;
  }

  #waiting(): boolean {
    if (this.#again.length > 0) return true;
    return this.#order.some((stream) => stream.ready);
  }

  /** There is room and nothing new for it, but the receiver may lack frames that a slow connection holds. */
  #reinject(): void {
    const { clock, lanes, rttMs } = this.#init;
    const lateMs = REINJECT_MS + 2 * rttMs();
    let look = false;
    for (const stream of this.#order) {
      const { unacknowledged } = stream;
      look ||= unacknowledged.length > 0;
      for (const [i, frame] of unacknowledged.entries()) {
        // What has arrived may be acknowledged only a second later: its connection has moved.
        const stalled = (frame.lane?.quietMs ?? 0) > lateMs;
        if (!stalled && !(i === 0 && stream.waitsForCredit)) continue;
        if (clock.now() - frame.sentAtMs <= lateMs || frame.copies >= MAX_COPIES) continue;
        const other = lanes.withRoom(frame.lane);
        if (other !== undefined) this.#send(frame, other);
      }
    }
    if (!look) return;
    this.#cancelLook ??= clock.after(LOOK_MS, () => {
      this.#cancelLook = undefined;
      this.pump();
    });
  }

  #forget(stream: OutgoingStream): void {
    this.#streams.delete(stream.id);
    this.#order = this.#order.filter((one) => one !== stream);
  }
}

function remember<T>(map: Map<number, T>, id: number, value: T, most: number): void {
  map.delete(id);
  map.set(id, value);
  const [oldest] = map.keys();
  if (map.size > most && oldest !== undefined) map.delete(oldest);
}

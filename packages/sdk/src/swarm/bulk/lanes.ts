// The connections that bulk frames of one link travel over. Each takes frames while it has room, so that one that
// stalls holds up nothing but what it carries already; how much that may be follows from what it delivers.
import { type BulkFrame, encodeBulkFrame } from "../../protocol/index.ts";
import type { BulkLane } from "../bulk-lane.ts";
import type { Clock } from "../clock.ts";

/** What a connection may carry unconfirmed, at least: it finds its pace from there. */
const MIN_WINDOW_BYTES = 128 * 1024;
/** And at most: 4 MiB fill 1 Gbit/s at 30 ms; SCTP's own buffers are smaller. */
const MAX_WINDOW_BYTES = 4 * 1024 * 1024;
/** Time's worth of a connection's own rate under way on it, beside two round trips: what its stall costs the others. */
const HORIZON_MS = 250;
/** In the channel's own queue; beyond SCTP's buffer more of it only waits. */
const HIGH_WATER_BYTES = 1024 * 1024;
/** What came is confirmed in such steps, and what is left after so long. */
const REPORT_BYTES = 128 * 1024;
const REPORT_MS = 10;
/** Rates are measured over at least so long. */
const RATE_MS = 100;

export class Lane {
  readonly bulk: BulkLane;
  readonly #clock: Clock;
  readonly #rttMs: () => number;
  #sentBytes = 0;
  #confirmedBytes = 0;
  #receivedBytes = 0;
  #reportedBytes = 0;
  #windowBytes = MIN_WINDOW_BYTES;
  #rateFrom: { readonly atMs: number; readonly bytes: number };
  #cancelReport: (() => void) | undefined;
  #drying = false;
  /** Since when what is under way on it should have moved. */
  #movedAtMs: number;
  /** It is about to be closed: takes no more. */
  retired = false;

  constructor(bulk: BulkLane, clock: Clock, rttMs: () => number) {
    this.bulk = bulk;
    this.#clock = clock;
    this.#rttMs = rttMs;
    this.#rateFrom = { atMs: clock.now(), bytes: 0 };
    this.#movedAtMs = clock.now();
  }

  /** For how long the peer has confirmed nothing of what is under way on it. */
  get quietMs(): number {
    return this.outstandingBytes === 0 ? 0 : this.#clock.now() - this.#movedAtMs;
  }

  get outstandingBytes(): number {
    return this.#sentBytes - this.#confirmedBytes;
  }

  get confirmedBytes(): number {
    return this.#confirmedBytes;
  }

  /** How full it is; at 1 it takes no more. */
  get load(): number {
    if (this.#drying) return 1;
    const channel = this.bulk.bufferedBytes / HIGH_WATER_BYTES;
    return Math.max(channel, this.outstandingBytes / this.#windowBytes);
  }

  /** Sends a data frame of so many payload bytes. */
  send(frame: Uint8Array<ArrayBuffer>, payloadBytes: number): void {
    this.bulk.send(frame);
    if (this.outstandingBytes === 0) this.#movedAtMs = this.#clock.now();
    this.#sentBytes += payloadBytes;
    // usrsctp sends nothing of one stream while another's queue is never empty: control messages need gaps.
    if (this.bulk.shared && this.outstandingBytes >= this.#windowBytes) this.#drying = true;
  }

  /** Sends what is not counted; a closed channel loses it. */
  tell(frame: BulkFrame): void {
    try {
      this.bulk.send(encodeBulkFrame(frame));
    } catch {
      // Whatever it was is said again over another connection.
    }
  }

  /** The peer has received so many payload bytes on it. */
  confirmed(bytes: number): void {
    if (bytes < this.#confirmedBytes || bytes > this.#sentBytes) return;
    const now = this.#clock.now();
    if (bytes > this.#confirmedBytes) this.#movedAtMs = now;
    this.#confirmedBytes = bytes;
    if (this.outstandingBytes === 0) this.#drying = false;
    const elapsedMs = now - this.#rateFrom.atMs;
    if (elapsedMs < RATE_MS) return;
    const bytesPerMs = (bytes - this.#rateFrom.bytes) / elapsedMs;
    this.#rateFrom = { atMs: now, bytes };
    const wanted = bytesPerMs * (HORIZON_MS + 2 * this.#rttMs());
    // Down by a quarter at most: a pause of the application is no change of the path.
    const floor = Math.max(MIN_WINDOW_BYTES, this.#windowBytes * 0.75);
    this.#windowBytes = Math.min(MAX_WINDOW_BYTES, Math.max(floor, wanted));
  }

  /** A data frame with so many payload bytes came. */
  received(bytes: number): void {
    this.#receivedBytes += bytes;
    if (this.#receivedBytes - this.#reportedBytes >= REPORT_BYTES) this.#report();
    else this.#cancelReport ??= this.#clock.after(REPORT_MS, () => this.#report());
  }

  close(): void {
    this.#cancelReport?.();
  }

  #report(): void {
    this.#cancelReport?.();
    this.#cancelReport = undefined;
    this.#reportedBytes = this.#receivedBytes;
    this.tell({ type: "received", bytes: this.#receivedBytes });
  }
}

export type LanesInit = {
  readonly clock: Clock;
  readonly rttMs: () => number;
  /** Whether bulk may go through a TURN server. */
  readonly relayAllowed: () => boolean;
};

export class Lanes {
  readonly #init: LanesInit;
  readonly #all = new Map<string, Lane>();
  #confirmedOfGone = 0;
  #turn = 0;

  constructor(init: LanesInit) {
    this.#init = init;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Those that carry nothing but bulk. */
  get dedicated(): number {
    return [...this.#all.values()].filter(({ bulk, retired }) => !bulk.shared && !retired).length;
  }

  /** Whether bulk can go anywhere now. */
  get usable(): boolean {
    return [...this.#all.values()].some((lane) => this.#usable(lane));
  }

  /** Bytes confirmed over all, those that are gone included. */
  get confirmedBytes(): number {
    let bytes = this.#confirmedOfGone;
    for (const lane of this.#all.values()) bytes += lane.confirmedBytes;
    return bytes;
  }

  /** Payload that fits one frame on all of them; `otherwise` while there are none. */
  maxFrameBytes(otherwise: number): number {
    return Math.min(otherwise, ...[...this.#all.values()].map(({ bulk }) => bulk.maxFrameBytes));
  }

  add(bulk: BulkLane): Lane {
    const { clock, rttMs } = this.#init;
    const lane = new Lane(bulk, clock, rttMs);
    this.#all.set(bulk.connection, lane);
    return lane;
  }

  of(connection: string): Lane | undefined {
    return this.#all.get(connection);
  }

  remove(connection: string): Lane | undefined {
    const lane = this.#all.get(connection);
    if (lane === undefined) return undefined;
    this.#all.delete(connection);
    this.#confirmedOfGone += lane.confirmedBytes;
    lane.close();
    return lane;
  }

  /** The one that is least full and has room, other than `except`. */
  withRoom(except?: Lane): Lane | undefined {
    let best: Lane | undefined;
    let load = 1;
    for (const lane of this.#all.values()) {
      if (lane === except || lane.retired || !this.#usable(lane)) continue;
      if (lane.bulk.shared && this.dedicated > 0) continue;
      const full = lane.load;
      if (full >= load) continue;
      best = lane;
      load = full;
    }
    return best;
  }

  /** Says something on one that is least full, room or not. Equals take turns: one may have stalled. */
  tell(frame: BulkFrame): void {
    const lanes = [...this.#all.values()].filter((lane) => !lane.retired);
    const all = lanes.length > 0 ? lanes : [...this.#all.values()];
    this.#turn = (this.#turn + 1) % Math.max(1, all.length);
    const [first, ...others] = [...all.slice(this.#turn), ...all.slice(0, this.#turn)];
    if (first === undefined) return;
    others.reduce((a, b) => (b.load < a.load ? b : a), first).tell(frame);
  }

  /** Says on each what must arrive although any of them may have stalled. */
  tellAll(frame: BulkFrame): void {
    for (const lane of this.#all.values()) lane.tell(frame);
  }

  [Symbol.iterator](): Iterator<Lane> {
    return this.#all.values();
  }

  #usable(lane: Lane): boolean {
    return !lane.bulk.relayed || this.#init.relayAllowed();
  }
}

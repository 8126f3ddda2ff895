// One request's bytes on their way into whole, verified shards. Sources that can receive into memory of ours
// fill the buffer the shards are written from (`into`); pieces that come otherwise are copied to their place.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { blake3Hex } from "../platform/index.ts";
import type { BufferPool } from "./buffer-pool.ts";

/** Verified shards and the memory they lie in, which is used again after `release`. */
export type Batch = {
  readonly run: ShardRun;
  readonly bytes: Uint8Array;
  release(): void;
};

/** Gathers the bytes of one run; holds one buffer of the pool. */
export class ShardIntake {
  /** First shard that has not arrived whole. */
  next: number;
  /** The shard `next` arrived and does not match. */
  isBad = false;
  readonly #map: ShardMap;
  readonly #pool: BufferPool;
  #buffer: Uint8Array<ArrayBuffer>;
  #batchFirst: number;
  /** Where in the run the buffer begins. */
  #batchAt = 0;
  /** Bytes of the buffer that whole shards will take. */
  #room: number;
  /** Bytes of the buffer in whole, verified shards. */
  #verified = 0;
  #filled = 0;
  #size: number;
  #digest: string;
  /** A buffer that may still be received into while its verified shards are written. */
  #held: Uint8Array<ArrayBuffer> | undefined;

  constructor(map: ShardMap, first: number, pool: BufferPool) {
    this.#map = map;
    this.#pool = pool;
    this.#buffer = pool.take();
    this.next = first;
    this.#batchFirst = first;
    const place = map.locate(first);
    this.#size = place.size;
    this.#digest = place.digest;
    this.#room = this.#roomFrom(first);
  }

  /** Whether the next shard does not fit behind the verified ones, or nothing more is of use. */
  get isFull(): boolean {
    return this.#verified > 0 && (this.isBad || this.#verified + this.#size > this.#buffer.length);
  }

  /** Where byte `at` of the run and those after it may be received; undefined when it has no place yet. */
  into(at: number): Uint8Array | undefined {
    const start = at - this.#batchAt;
    if (this.isBad || start < this.#filled || start >= this.#room) return undefined;
    return this.#buffer.subarray(start, this.#room);
  }

  /** Takes bytes up to the end of the current shard; gives how many. */
  add(bytes: Uint8Array): number {
    if (this.isBad) return bytes.length;
    const buffer = this.#buffer;
    const taken = bytes.subarray(0, this.#verified + this.#size - this.#filled);
    const inPlace =
      taken.buffer === buffer.buffer && taken.byteOffset === buffer.byteOffset + this.#filled;
    if (!inPlace) buffer.set(taken, this.#filled);
    this.#filled += taken.length;
    if (this.#filled === this.#verified + this.#size) this.#verify();
    return taken.length;
  }

  /** The verified shards below `end`, with their buffer; a fresh one goes on. */
  take(end: number): Batch | undefined {
    const first = this.#batchFirst;
    const count = Math.min(this.next, end) - first;
    if (count <= 0) return undefined;
    const buffer = this.#buffer;
    const bytes = buffer.subarray(0, this.#map.bytesOf({ first, count }));
    const rest = buffer.subarray(this.#verified, this.#filled);
    this.#buffer = this.#pool.take();
    this.#buffer.set(rest);
    this.#batchAt += this.#verified;
    this.#filled = rest.length;
    this.#verified = 0;
    this.#batchFirst = this.next;
    this.#room = this.#roomFrom(this.next);
    if (bytes.length < buffer.length && (this.isBad || this.next > end)) {
      // The source may be receiving behind these shards until it hears that the request is over.
      this.#held = buffer;
      return { run: { first, count }, bytes, release: () => undefined };
    }
    return { run: { first, count }, bytes, release: () => this.#pool.give(buffer) };
  }

  /** Gives its memory back; no source receives into it any more, and no batch is being written. */
  release(): void {
    this.#pool.give(this.#buffer);
    if (this.#held !== undefined) this.#pool.give(this.#held);
    this.#held = undefined;
  }

  #verify(): void {
    const shard = this.#buffer.subarray(this.#verified, this.#filled);
    if (blake3Hex(shard) !== this.#digest) {
      this.isBad = true;
      this.#filled = this.#verified;
      return;
    }
    this.#verified = this.#filled;
    this.next += 1;
    if (this.next >= this.#map.count) return;
    const place = this.#map.locate(this.next);
    this.#size = place.size;
    this.#digest = place.digest;
  }

  /** Bytes of the whole shards from `first` that fit into a buffer. */
  #roomFrom(first: number): number {
    let low = first;
    let high = this.#map.count;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      const bytes = this.#map.bytesOf({ first, count: middle - first });
      if (bytes <= this.#pool.bufferBytes) low = middle;
      else high = middle - 1;
    }
    return this.#map.bytesOf({ first, count: low - first });
  }
}

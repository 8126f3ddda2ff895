// Finds content of known artifacts in files that are read once, in order, whatever moved it. Bytes go in in pieces, out
// come ranges, each byte in exactly one. Unchanged regions cost one look-up a window, changed ones the rolling of one:
//
//   sync ── the window here is known (follows the last one, or by its digest) ──▶ range from there, on by a window, sync
//    ├─ unknown ──▶ roll byte by byte to the next multiple of the window ── its CRC-32, then its digest is known ──▶ as above
//    └─ unknown, and long stretches were rolled for nothing ──▶ pass over to the next multiple of the window, sync
//
// A window is as long as the bases' shards. A file's short last shard is found where a match ended before it, and at
// multiples of the window. At most two windows of bytes are kept beside the caller's piece.
import { blake3Hex } from "../platform/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { RollingCrc32 } from "./crc32-rolling.ts";
import { KeptBytes } from "./kept-bytes.ts";
import { RollingEffort } from "./rolling-effort.ts";
import type { BaseFile, Place, ShardIndex } from "./shard-index.ts";

/** Bytes of a base: an offset in an object of it, in the object's plain form. */
export type Origin = {
  /** Index into the bases. */
  readonly base: number;
  readonly key: string;
  readonly offset: number;
  /** The base's shard that begins there. */
  readonly shard: number;
};

/** Bytes of the stream: `start` … `start + size - 1`, of one file. Without `from` they are new. */
export type MatchedRange = {
  /** Offset in all files end to end. */
  readonly start: number;
  readonly size: number;
  readonly from?: Origin;
};

export type NewFile = {
  /** A base's file of the same path is looked at first. */
  readonly path: string;
  readonly size: number;
  /** Digest of the file's shard with this number, where known already and `windowBytes` long: saves hashing it again. */
  readonly digestOf?: (shard: number) => string | undefined;
};

export class MatchStream {
  readonly #index: ShardIndex;
  readonly #windowBytes: number;
  readonly #rolling: RollingCrc32;
  readonly #kept: KeptBytes;
  #file: NewFile = { path: "", size: 0 };
  /** Where the file begins in the stream. */
  #fileStart = 0;
  /** Bytes of the file that were handed in, and those whose range is decided. */
  #received = 0;
  #position = 0;
  /** While rolling: the multiple of the window at which it ends. */
  #rollEnd: number | undefined;
  /** The shard that ended just here. */
  #last: Place | undefined;
  /** Where the file's content was found last: a base's file, and by how much its offsets are greater. */
  #near: (BaseFile & { readonly shift: number }) | undefined;
  readonly #effort: RollingEffort;
  #out: MatchedRange[] = [];
  #hashedBytes = 0;
  #matchedBytes = 0;

  constructor(index: ShardIndex) {
    this.#index = index;
    this.#windowBytes = index.windowBytes;
    this.#rolling = new RollingCrc32(index.windowBytes);
    this.#kept = new KeptBytes(index.windowBytes);
    this.#effort = new RollingEffort(index.windowBytes, index.weak.count);
  }

  /** Bytes of the stream whose ranges were given. */
  get decided(): number {
    return this.#fileStart + this.#position;
  }

  /** What the search cost and found so far. */
  get counters(): {
    readonly rolledBytes: number;
    /** Hashed here, beyond what `digestOf` knew. */
    readonly hashedBytes: number;
    readonly matchedBytes: number;
  } {
    const { rolledBytes } = this.#effort;
    return { rolledBytes, hashedBytes: this.#hashedBytes, matchedBytes: this.#matchedBytes };
  }

  /** Announces the next file of the stream; the one before must be complete. */
  beginFile(file: NewFile): void {
    if (this.#position < this.#file.size) {
      throw new WaybillError("internal", `${this.#file.path} ended before its size was reached`);
    }
    this.#fileStart += this.#file.size;
    this.#file = file;
    this.#received = 0;
    this.#position = 0;
    const home = this.#index.fileAt(file.path);
    this.#near = home === undefined ? undefined : { ...home, shift: 0 };
  }

  /**
   * Takes the file's next bytes and gives the ranges they decide, in order; the last ranges of a file come with
   * its last byte. The memory of `piece` is free again when this returns.
   */
  take(piece: Uint8Array): readonly MatchedRange[] {
    this.#received += piece.length;
    if (this.#received > this.#file.size) {
      throw new WaybillError("internal", `${this.#file.path} is longer than was announced`);
    }
    this.#out = [];
    this.#takePiece(piece);
    return this.#out;
  }

  #takePiece(piece: Uint8Array): void {
    const carried = this.#kept.bytes.length;
    let from = 0;
    if (carried > 0) {
      // A window that begins in what is kept ends within a window's length of the piece.
      const head = piece.subarray(0, this.#windowBytes);
      const isWhole = head.length === piece.length;
      const kept = this.#kept.append(head);
      const used = this.#scan(kept, 0, isWhole ? kept.length : carried);
      this.#kept.drop(isWhole ? used : kept.length);
      if (isWhole) return;
      from = used - carried;
    }
    const used = this.#scan(piece, from, piece.length);
    this.#kept.append(piece.subarray(used));
  }

  /** Decides bytes of `view` from `from` until one at or beyond `stop`, or until more are needed; gives where. */
  #scan(view: Uint8Array, from: number, stop: number): number {
    let at = from;
    while (at < stop) {
      const moved = this.#rollEnd === undefined ? this.#sync(view, at) : this.#roll(view, at);
      if (moved === undefined) break;
      at += moved;
    }
    return at;
  }

  /** Decides the window at `at`, or begins to roll (0); undefined when it is not all there yet. */
  #sync(view: Uint8Array, at: number): number | undefined {
    const size = Math.min(this.#windowBytes, this.#file.size - this.#position);
    if (view.length - at < size) return undefined;
    const window = view.subarray(at, at + size);
    const place = this.#locate(this.#digest(window));
    if (place !== undefined) return this.#match(place, size);
    const short = this.#shortShard(window);
    if (short !== undefined) return short;
    const toMultiple = this.#nextMultiple() - this.#position;
    if (size < this.#windowBytes || !this.#effort.isWorthRolling()) return this.#isNew(toMultiple);
    this.#rolling.start(view, at);
    this.#rollEnd = this.#position + toMultiple;
    return 0;
  }

  /** Rolls as far as bytes are there; undefined when none is. */
  #roll(view: Uint8Array, at: number): number | undefined {
    const end = this.#rollEnd ?? this.#position;
    const lastStart = Math.min(end, this.#file.size - this.#windowBytes);
    if (this.#position >= lastStart) {
      this.#rollEnd = undefined;
      return this.#isNew(end - this.#position);
    }
    const ahead = view.length - at - this.#windowBytes;
    const steps = Math.min(lastStart - this.#position, ahead);
    if (steps <= 0) return undefined;
    const moved = this.#rolling.roll(view, at, steps, this.#index.weak);
    this.#effort.rolled(moved);
    this.#isNew(moved);
    const found = this.#confirm(view.subarray(at + moved, at + moved + this.#windowBytes));
    if (found !== undefined || this.#position === end) this.#rollEnd = undefined;
    return moved + (found ?? 0);
  }

  /** Looks closer where the CRC-32 is a known shard's. */
  #confirm(window: Uint8Array): number | undefined {
    if (!this.#index.weak.has(this.#rolling.crc32)) return undefined;
    const place = this.#locate(this.#digest(window));
    if (place !== undefined) return this.#match(place, window.length);
    this.#effort.falseHit();
    return undefined;
  }

  /** The short last shard of the file that was matched up to here, with other content behind it. */
  #shortShard(window: Uint8Array): number | undefined {
    const next = this.#following();
    const map = next === undefined ? undefined : this.#index.bases[next.base]?.map;
    if (next === undefined || map === undefined) return undefined;
    const { size, digest } = map.locate(next.shard);
    if (size >= window.length) return undefined;
    this.#hashedBytes += size;
    return blake3Hex(window.subarray(0, size)) === digest ? this.#match(next, size) : undefined;
  }

  /** The best of the places with this digest: one that goes on from the last, one at the same shift, the first. */
  #locate(digest: string): Place | undefined {
    const guess = [this.#following(), this.#atSameShift()].find(
      (place) => place !== undefined && this.#index.digestOf(place) === digest,
    );
    return guess ?? this.#index.find(digest);
  }

  #following(): Place | undefined {
    if (this.#last === undefined) return undefined;
    const { base, shard } = this.#last;
    const end = this.#index.bases[base]?.map.objectEnd(shard) ?? 0;
    return shard + 1 < end ? { base, shard: shard + 1 } : undefined;
  }

  #atSameShift(): Place | undefined {
    if (this.#near === undefined) return undefined;
    const { base, file, shift } = this.#near;
    const known = this.#index.bases[base];
    if (known === undefined) return undefined;
    const shard = (this.#position + shift) / known.manifest.shardBytes;
    const { first, count } = known.map.shardsOf(file);
    return Number.isInteger(shard) && shard >= 0 && shard < count
      ? { base, shard: first + shard }
      : undefined;
  }

  #match(place: Place, size: number): number {
    const map = this.#index.bases[place.base]?.map;
    if (map === undefined) throw new WaybillError("internal", `no base number ${place.base}`);
    const { key, start } = map.plainRangeOf({ first: place.shard, count: 1 });
    const { file, offset } = map.locate(place.shard);
    this.#emit(size, { base: place.base, key, offset: start, shard: place.shard });
    this.#last = place;
    this.#near = { base: place.base, file, shift: offset - this.#position };
    this.#position += size;
    this.#matchedBytes += size;
    this.#effort.matched();
    return size;
  }

  #isNew(size: number): number {
    if (size > 0) this.#emit(size);
    this.#position += size;
    this.#effort.unmatched(size);
    this.#last = undefined;
    return size;
  }

  #emit(size: number, from?: Origin): void {
    const before = this.#out.at(-1);
    if (before !== undefined && continues(before, from)) {
      this.#out[this.#out.length - 1] = { ...before, size: before.size + size };
      return;
    }
    const start = this.#fileStart + this.#position;
    this.#out.push(from === undefined ? { start, size } : { start, size, from });
  }

  #nextMultiple(): number {
    const next = (Math.floor(this.#position / this.#windowBytes) + 1) * this.#windowBytes;
    return Math.min(next, this.#file.size);
  }

  #digest(window: Uint8Array): string {
    const shard = this.#position / this.#windowBytes;
    const known = Number.isInteger(shard) ? this.#file.digestOf?.(shard) : undefined;
    if (known !== undefined) return known;
    this.#hashedBytes += window.length;
    return blake3Hex(window);
  }
}

/** Whether bytes from `from` (new ones without) right behind a range would be one range with it. */
export function continues(before: MatchedRange, from: Origin | undefined): boolean {
  if (from === undefined || before.from === undefined) return from === before.from;
  const { base, key, offset } = before.from;
  return base === from.base && key === from.key && offset + before.size === from.offset;
}

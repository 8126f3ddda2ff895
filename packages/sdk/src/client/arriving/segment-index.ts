// Which shards of an artifact lie in the segments that have landed, and in which of them a range of an object lies.
// Segments may overlap, because several runs of a push may have cut an object differently.
import type { ObjectRange, ShardMap, ShardRun } from "../../artifact/index.ts";
import { type ArrivingObject, WaybillError, partOffset } from "../../protocol/index.ts";
import { ShardSet } from "../../transfer/index.ts";

/** A segment by where the bytes it stands for begin in their plain object. */
export type PlacedSegment = {
  /** Of the stored object. */
  readonly key: string;
  readonly part: number;
  readonly start: number;
  /** Bytes of the plain object. */
  readonly size: number;
  readonly storedBytes: number;
  /** The first shard of an encoded segment, which is one frame for each shard. */
  readonly firstShard?: number;
};

/** A piece of a range: `size` bytes from `offset` of what a segment stands for. */
export type SegmentPiece = {
  readonly segment: PlacedSegment;
  readonly offset: number;
  readonly size: number;
};

/** What the keys of encoded objects end in. */
const ENCODED_SUFFIX = ".zst";

export class SegmentIndex {
  readonly #map: ShardMap;
  /** By the plain object's key. */
  readonly #byKey = new Map<string, PlacedSegment[]>();

  constructor(map: ShardMap, objects: readonly ArrivingObject[], unitBytes: number) {
    this.#map = map;
    const shards = new Map<string, ShardRun>();
    for (let first = 0; first < map.count; first = map.objectEnd(first)) {
      const { key } = map.plainRangeOf({ first, count: 1 });
      shards.set(key, { first, count: map.objectEnd(first) - first });
    }
    for (const { key, segments } of objects) {
      for (const { part, size, plainBytes } of segments) {
        const offset = part === 0 ? 0 : partOffset(part, unitBytes);
        if (plainBytes === undefined) {
          this.#add(key, { key, part, start: offset, size, storedBytes: size });
          continue;
        }
        const plainKey = key.slice(0, -ENCODED_SUFFIX.length);
        const own = shards.get(plainKey);
        if (own === undefined) continue;
        // A part of an encoded object begins with the first frame whose shard begins there or later.
        const firstShard = this.#shardAt(own, offset);
        const start = map.position(firstShard) - map.position(own.first);
        const placed = { key, part, start, size: plainBytes, storedBytes: size, firstShard };
        this.#add(plainKey, placed);
      }
    }
    for (const segments of this.#byKey.values()) segments.sort((a, b) => a.start - b.start);
  }

  /** All segments, by object and place. */
  *segments(): Generator<PlacedSegment> {
    for (const segments of this.#byKey.values()) yield* segments;
  }

  /** Shards whose bytes are there. */
  shards(): ShardSet {
    const map = this.#map;
    let set = ShardSet.empty;
    for (let first = 0; first < map.count; first = map.objectEnd(first)) {
      const count = map.objectEnd(first) - first;
      const { key } = map.plainRangeOf({ first, count: 1 });
      const covered = this.#covered(key);
      if (covered.length === 0) continue;
      const base = map.position(first);
      let run: { first: number; count: number } | undefined;
      let at = 0;
      for (let shard = first; shard < first + count; shard++) {
        const start = map.position(shard) - base;
        const end = start + map.bytesOf({ first: shard, count: 1 });
        while ((covered[at]?.end ?? Infinity) < end) at += 1;
        const stretch = covered[at];
        if (stretch === undefined) break;
        if (stretch.start > start) continue;
        if (run !== undefined && run.first + run.count === shard) run.count += 1;
        else {
          if (run !== undefined) set = set.with(run);
          run = { first: shard, count: 1 };
        }
      }
      if (run !== undefined) set = set.with(run);
    }
    return set;
  }

  /** The pieces of a range, in order, as few as can be; throws `storage_failed` where a byte has not landed. */
  pieces({ key, start, size }: ObjectRange): SegmentPiece[] {
    const segments = this.#byKey.get(key) ?? [];
    const pieces: SegmentPiece[] = [];
    const end = start + size;
    for (let at = start; at < end;) {
      let best: PlacedSegment | undefined;
      for (const segment of segments) {
        if (segment.start > at) break;
        if (segment.start + segment.size > (best === undefined ? at : best.start + best.size)) {
          best = segment;
        }
      }
      if (best === undefined) {
        throw new WaybillError("storage_failed", `byte ${at} of ${key} has not landed yet`);
      }
      const until = Math.min(end, best.start + best.size);
      pieces.push({ segment: best, offset: at - best.start, size: until - at });
      at = until;
    }
    return pieces;
  }

  #add(key: string, segment: PlacedSegment): void {
    const segments = this.#byKey.get(key) ?? [];
    segments.push(segment);
    this.#byKey.set(key, segments);
  }

  /** The first shard of an object that begins at `offset` of it or later. */
  #shardAt({ first, count }: ShardRun, offset: number): number {
    const base = this.#map.position(first);
    let low = first;
    let high = first + count - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#map.position(middle) - base < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Stretches of an object without gaps. */
  #covered(key: string): { readonly start: number; readonly end: number }[] {
    const stretches: { start: number; end: number }[] = [];
    for (const { start, size } of this.#byKey.get(key) ?? []) {
      const last = stretches.at(-1);
      if (last !== undefined && start <= last.end) last.end = Math.max(last.end, start + size);
      else stretches.push({ start, end: start + size });
    }
    return stretches;
  }
}

// Which shards of an artifact lie in the segments that have landed, and in which of them a range of an object lies.
// Segments may overlap, because several runs of a push may have cut an object differently.
import type { ObjectRange, ShardMap } from "../../artifact/index.ts";
import { type ArrivingObject, WaybillError, partOffset } from "../../protocol/index.ts";
import { ShardSet } from "../../transfer/index.ts";

/** A segment by where it begins in its object. */
export type PlacedSegment = {
  readonly key: string;
  readonly part: number;
  readonly start: number;
  readonly size: number;
};

/** A piece of a range: `size` bytes from `offset` of a segment. */
export type SegmentPiece = {
  readonly segment: PlacedSegment;
  readonly offset: number;
  readonly size: number;
};

export class SegmentIndex {
  readonly #map: ShardMap;
  readonly #byKey: ReadonlyMap<string, readonly PlacedSegment[]>;

  constructor(map: ShardMap, objects: readonly ArrivingObject[], unitBytes: number) {
    this.#map = map;
    this.#byKey = new Map(
      objects.map(({ key, segments }) => [
        key,
        segments
          .map(({ part, size }) => {
            return { key, part, start: part === 0 ? 0 : partOffset(part, unitBytes), size };
          })
          .sort((a, b) => a.start - b.start),
      ]),
    );
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
      const { key } = map.rangeOf({ first, count: 1 });
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

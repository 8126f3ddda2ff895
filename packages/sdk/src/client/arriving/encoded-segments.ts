// Segments of encoded objects: read whole, because where their frames begin is known only then, and kept for the
// requests that want other shards of the same.
import type { ShardMap } from "../../artifact/index.ts";
import { decodeFrame } from "../../compression/index.ts";
import { abortReason } from "../../timing/index.ts";
import type { FetchOptions } from "../../transfer/index.ts";
import { frameLengths } from "./frame-lengths.ts";
import type { PlacedSegment, SegmentPiece } from "./segment-index.ts";

/** Reads all stored bytes of a segment. */
export type ReadSegment = (
  segment: PlacedSegment,
  options: { readonly signal: AbortSignal },
) => AsyncIterable<Uint8Array>;

/** As many as requests the scheduler begins with; a part that shrinks has seldom more than 16 MiB. */
const KEPT = 4;

type Loaded = { readonly bytes: Uint8Array; readonly frames: readonly number[] };

export class EncodedSegments {
  readonly #map: ShardMap;
  readonly #read: ReadSegment;
  readonly #stop = new AbortController();
  /** The latest, by name. */
  readonly #loaded = new Map<string, Promise<Loaded>>();

  constructor(map: ShardMap, read: ReadSegment) {
    this.#map = map;
    this.#read = read;
  }

  /** The plain bytes of a piece that begins with a shard, one shard after the other. */
  async *read(
    { segment, offset, size }: SegmentPiece,
    { signal, onSaved }: FetchOptions,
  ): AsyncGenerator<Uint8Array> {
    const { bytes, frames } = await this.#load(segment, signal);
    let shard = segment.firstShard ?? 0;
    let plain = 0;
    let at = 0;
    for (const length of frames) {
      if (plain >= offset + size) return;
      const shardBytes = this.#map.bytesOf({ first: shard, count: 1 });
      if (plain >= offset) {
        signal.throwIfAborted();
        onSaved?.(shardBytes - length);
        yield await decodeFrame(bytes.subarray(at, at + length), shardBytes);
      }
      plain += shardBytes;
      at += length;
      shard += 1;
    }
  }

  close(): void {
    this.#stop.abort();
    this.#loaded.clear();
  }

  /** Shared by the requests for one segment: none of them calls it off for the others. */
  async #load(segment: PlacedSegment, signal: AbortSignal): Promise<Loaded> {
    const name = `${segment.part}/${segment.storedBytes}/${segment.key}`;
    const known = this.#loaded.get(name);
    const loading = known ?? this.#readAll(segment);
    if (known === undefined) {
      this.#loaded.set(name, loading);
      const [oldest] = this.#loaded.keys();
      if (this.#loaded.size > KEPT && oldest !== undefined) this.#loaded.delete(oldest);
      // A failure is told to those who wait, and not remembered.
      loading.catch(() => {
        if (this.#loaded.get(name) === loading) this.#loaded.delete(name);
      });
    }
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(abortReason(signal));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([loading, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      aborted.promise.catch(() => undefined);
    }
  }

  async #readAll(segment: PlacedSegment): Promise<Loaded> {
    const bytes = new Uint8Array(segment.storedBytes);
    let at = 0;
    for await (const piece of this.#read(segment, { signal: this.#stop.signal })) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return { bytes, frames: frameLengths(bytes) };
  }
}

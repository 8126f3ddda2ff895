// An artifact that is arriving as a source: shards can be fetched as the segments they lie in land, and all of them,
// from the stored artifact, once it is complete.
import type { ObjectRange, ShardMap, ShardRun } from "../../artifact/index.ts";
import type { ByteTransport } from "../../platform/index.ts";
import {
  type ArtifactId,
  LIMITS,
  type RoomId,
  type SegmentName,
  WaybillError,
} from "../../protocol/index.ts";
import { RangeReader } from "../../s3/index.ts";
import type { FetchOptions, LinkBook, Source, SourceAdvice } from "../../transfer/index.ts";
import { ShardSet } from "../../transfer/index.ts";
import type { HubCalls } from "../push.ts";
import type { ArrivingFeed } from "./arriving-feed.ts";
import { EncodedSegments } from "./encoded-segments.ts";
import { type PlacedSegment, SegmentIndex, type SegmentPiece } from "./segment-index.ts";

export type ArrivingSourceInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly artifact: ArtifactId;
  readonly map: ShardMap;
  readonly feed: ArrivingFeed;
  readonly transport: ByteTransport;
  readonly links: LinkBook;
  /** The stored artifact, once the feed is done. Retried while it throws what may pass. */
  readonly openStored: () => Promise<Source>;
};

/** Most connections to one store; the scheduler begins with four and finds out how many pay. */
const WINDOW = 32;
/** Segments signed with the one that is needed. */
const SIGN_AHEAD = 64;

export class ArrivingSource implements Source {
  readonly id = "s3";
  readonly kind = "s3";
  readonly cost = "paid";
  readonly window = WINDOW;
  readonly #init: ArrivingSourceInit;
  readonly #reader: RangeReader;
  readonly #encoded: EncodedSegments;
  /** Segments whose URLs the reader has. */
  readonly #signed = new Set<string>();
  readonly #listeners = new Set<() => void>();
  readonly #unsubscribe: () => void;
  #index: SegmentIndex;
  #shards: ShardSet;
  #stored: Promise<Source> | undefined;

  constructor(init: ArrivingSourceInit) {
    this.#init = init;
    const { transport, links, feed } = init;
    this.#reader = new RangeReader({
      transport,
      links,
      keys: [],
      sign: async (keys, { signal }) => this.#sign(keys, signal),
    });
    this.#encoded = new EncodedSegments(init.map, (segment, options) =>
      this.#readStored({ segment, offset: 0, size: segment.storedBytes }, 0, options),
    );
    this.#index = this.#indexNow();
    this.#shards = this.#shardsNow();
    this.#unsubscribe = feed.onChange(() => {
      this.#index = this.#indexNow();
      this.#shards = this.#shardsNow();
      for (const listener of this.#listeners) listener();
    });
  }

  shards(): ShardSet {
    return this.#shards;
  }

  onShards(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  runEnd(first: number): number {
    return this.#init.map.objectEnd(first);
  }

  async *fetch(run: ShardRun, options: FetchOptions): AsyncGenerator<Uint8Array> {
    if (!this.#init.feed.account.done) {
      yield* this.#fromSegments(this.#init.map.plainRangeOf(run), options);
      return;
    }
    const opened = (this.#stored ??= this.#init.openStored());
    try {
      const stored = await opened;
      yield* stored.fetch(run, options);
    } catch (error) {
      // A failure to open is not remembered; the scheduler asks again when it may pass.
      if (this.#stored === opened) await opened.catch(() => (this.#stored = undefined));
      throw error;
    }
  }

  advice(): SourceAdvice {
    return this.#reader.advice();
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#encoded.close();
    const stored = await this.#stored?.catch(() => undefined);
    await stored?.close?.();
  }

  async *#fromSegments(range: ObjectRange, options: FetchOptions): AsyncGenerator<Uint8Array> {
    let done = 0;
    for (const piece of this.#index.pieces(range)) {
      yield* piece.segment.firstShard === undefined
        ? this.#readStored(piece, done, options)
        : this.#encoded.read(piece, options);
      done += piece.size;
    }
  }

  /** Bytes of a segment as they are stored; `done` bytes of the run came before them. */
  async *#readStored(
    { segment, offset, size }: SegmentPiece,
    done: number,
    options: FetchOptions,
  ): AsyncGenerator<Uint8Array> {
    const { into } = options;
    const shifted = into === undefined ? {} : { into: (at: number) => into(at + done) };
    const range = { key: nameOf(segment), start: offset, size };
    try {
      yield* this.#reader.read(range, { ...options, ...shifted }, segment.storedBytes);
    } catch (error) {
      // Segments go when the artifact is there; the rest of the object is no less to be had.
      if (!(error instanceof WaybillError) || error.code !== "not_found") throw error;
      throw new WaybillError("storage_failed", `a segment of ${segment.key} is gone`, {
        cause: error,
      });
    }
  }

  /** Signs the segments that are asked for, and some that will be. */
  async #sign(names: readonly string[], signal: AbortSignal) {
    const { hub, room, artifact } = this.#init;
    const wanted = new Set(names);
    const segments: SegmentName[] = names.map(parseName);
    for (const segment of this.#index.segments()) {
      if (segments.length >= Math.min(SIGN_AHEAD, LIMITS.signBatch)) break;
      const name = nameOf(segment);
      if (!wanted.has(name) && !this.#signed.has(name)) segments.push(parseName(name));
    }
    const input = { params: { room, artifact }, body: { segments } };
    const { reads } = await hub.call("signArriving", input, { signal, retryForMs: 0 });
    return reads.map(({ url, ...segment }) => {
      const name = segmentName(segment);
      this.#signed.add(name);
      return { key: name, url };
    });
  }

  #indexNow(): SegmentIndex {
    const { objects, unitBytes } = this.#init.feed.account;
    return new SegmentIndex(this.#init.map, objects, unitBytes);
  }

  #shardsNow(): ShardSet {
    const { feed, map } = this.#init;
    return feed.account.done ? ShardSet.all(map.count) : this.#index.shards();
  }
}

/** What the reader calls a segment. */
function nameOf({ key, part, size, firstShard }: PlacedSegment): string {
  return segmentName({
    key,
    part,
    ...(firstShard === undefined || part === 0 ? {} : { plainBytes: size }),
  });
}

function segmentName({ key, part, plainBytes }: SegmentName): string {
  return `${part}${plainBytes === undefined ? "" : `.${plainBytes}`}/${key}`;
}

function parseName(name: string): SegmentName {
  const slash = name.indexOf("/");
  const [part, plain] = name.slice(0, slash).split(".").map(Number);
  const key = name.slice(slash + 1);
  return { part: part ?? 0, key, ...(plain === undefined ? {} : { plainBytes: plain }) };
}

// Performs the effects of the download machine: fetches runs, cuts them into shards, checks every shard's
// hash, and hands good ones to the keeper. Decides nothing.
//
// Memory: two buffers per request (one filling, one being written), each one shard long, so window × 2 ×
// shardBytes; shards smaller than a buffer are gathered until it is full.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { blake3Hex } from "../platform/index.ts";
import { WaybillError, assertNever, isAbort } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import { BufferPool } from "./buffer-pool.ts";
import {
  type DownloadEffect,
  type DownloadEvent,
  type DownloadState,
  beginDownload,
  nextDownload,
} from "./download-state.ts";
import type { ShardSet } from "./shard-set.ts";
import type { Source, SourceKind } from "./source.ts";

/** Small shards are gathered to at least this before they are written. */
const MIN_BUFFER_BYTES = 1024 * 1024;

/** Where verified shards go. */
export interface ShardKeeper {
  /**
   * Stores a run of shards whose hashes matched; resolves when they will survive the process. The bytes
   * may be reused after that.
   */
  keep(run: ShardRun, bytes: Uint8Array): Promise<void>;
}

export type DownloadInput = {
  readonly map: ShardMap;
  readonly done: ShardSet;
  readonly sources: readonly Source[];
  readonly keeper: ShardKeeper;
  readonly signal?: AbortSignal | undefined;
  /** Told of verified bytes as they are kept, and which kind of source brought them. */
  readonly onBytes?: (kind: SourceKind, bytes: number) => void;
  /** Told when a source is given up, and why. */
  readonly onDrop?: (source: string, reason: string) => void;
};

/**
 * Fetches every missing shard. Throws `no_source_left` naming each source and its reason, what the keeper
 * throws, or the signal's reason. Closes the sources.
 */
export function runDownload(input: DownloadInput): Promise<void> {
  return new DownloadRun(input).run();
}

type Fetching = { end: number; readonly abort: AbortController };

class DownloadRun {
  readonly #input: DownloadInput;
  readonly #pool: BufferPool;
  readonly #sources: ReadonlyMap<string, Source>;
  readonly #fetching = new Map<number, Fetching>();
  readonly #tasks = new Set<Promise<void>>();
  #state: DownloadState;
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined;

  constructor(input: DownloadInput) {
    this.#input = input;
    const { map } = input;
    const longest = Math.min(map.manifest.shardBytes, map.bytes);
    this.#pool = new BufferPool(Math.max(MIN_BUFFER_BYTES, longest));
    this.#sources = new Map(input.sources.map((source) => [source.id, source]));
    this.#state = beginDownload(map.count, input.done);
  }

  async run(): Promise<void> {
    const { signal, sources } = this.#input;
    const end = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    const onAbort = () => {
      if (signal !== undefined) this.#dispatch({ type: "stopped", error: abortReason(signal) });
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const unsubscribe = sources.map((source) =>
      source.onShards?.(() =>
        this.#dispatch({ type: "source-has", source: source.id, has: source.shards() }),
      ),
    );
    try {
      if (signal?.aborted === true) throw abortReason(signal);
      this.#dispatch({ type: "sources-added", sources: sources.map(described) });
      await end;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      for (const stop of unsubscribe) stop?.();
      for (const { abort } of this.#fetching.values()) abort.abort();
      await Promise.allSettled(this.#tasks);
      await Promise.allSettled(sources.map(async (source) => source.close?.()));
    }
  }

  #dispatch(event: DownloadEvent): void {
    const { state, effects } = nextDownload(this.#state, event, this.#input.map);
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: DownloadEffect): void {
    switch (effect.type) {
      case "fetch":
        this.#start(effect.request, effect.source, effect.run);
        break;
      case "shorten": {
        const fetching = this.#fetching.get(effect.request);
        if (fetching !== undefined) fetching.end = effect.end;
        break;
      }
      case "cancel":
        this.#fetching.get(effect.request)?.abort.abort();
        break;
      case "drop":
        this.#input.onDrop?.(effect.source, effect.reason);
        break;
      case "finish":
        this.#settle?.resolve();
        break;
      case "fail":
        this.#settle?.reject(effect.error);
        break;
      default:
        assertNever(effect);
    }
  }

  #start(request: number, id: string, run: ShardRun): void {
    const source = this.#sources.get(id);
    if (source === undefined) throw new WaybillError("internal", `no source ${id}`);
    const fetching: Fetching = { end: run.first + run.count, abort: new AbortController() };
    this.#fetching.set(request, fetching);
    const task: Promise<void> = this.#fetch(request, source, run, fetching)
      // A task's own events come after its end, so that its place is free.
      .then((event) => {
        this.#fetching.delete(request);
        return event === undefined ? undefined : this.#dispatch(event);
      })
      .catch((error: unknown) => this.#dispatch({ type: "stopped", error }))
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  /** Runs one request; gives the event that ends it. Throws only what the keeper throws. */
  async #fetch(
    request: number,
    source: Source,
    run: ShardRun,
    fetching: Fetching,
  ): Promise<DownloadEvent | undefined> {
    const intake = new ShardIntake(this.#input.map, run.first, this.#pool);
    let writing: Promise<void> = Promise.resolve();
    const flush = async () => {
      await writing;
      const batch = intake.take(fetching.end);
      writing = batch === undefined ? writing : this.#keep(request, source, batch);
      // Its failure is seen at the next `await writing`; until then it must not count as unhandled.
      writing.catch(() => undefined);
    };
    const runEnd = run.first + run.count;
    let event: DownloadEvent = { type: "ended", request };
    try {
      for await (const piece of source.fetch(run, { signal: fetching.abort.signal })) {
        for (let at = 0; at < piece.length && intake.next < fetching.end;) {
          at += intake.add(piece.subarray(at));
          if (intake.isFull) await flush();
        }
        // A request that came to its own end is read out, so that its connection can be used again.
        if (intake.isBad || (intake.next >= fetching.end && fetching.end < runEnd)) break;
      }
      if (intake.isBad) event = { type: "bad-shard", request };
    } catch (error) {
      if (fetching.abort.signal.aborted && isAbort(error)) return undefined;
      const final = error instanceof WaybillError && !error.retryable;
      event = { type: "ended", request, error, final };
    } finally {
      // What has matched is kept whatever came after it (I2).
      await flush();
      await writing;
      intake.release();
    }
    return fetching.abort.signal.aborted ? undefined : event;
  }

  async #keep(request: number, source: Source, batch: Batch): Promise<void> {
    try {
      await this.#input.keeper.keep(batch.run, batch.bytes);
    } finally {
      batch.release();
    }
    this.#input.onBytes?.(source.kind, batch.bytes.length);
    this.#dispatch({ type: "matched", request, count: batch.run.count });
  }
}

function described(source: Source) {
  return {
    id: source.id,
    kind: source.kind,
    cost: source.cost,
    window: source.window,
    has: source.shards(),
    mayGain: source.onShards !== undefined,
    runEnd: (first: number) => source.runEnd?.(first) ?? Number.POSITIVE_INFINITY,
  };
}

type Batch = { readonly run: ShardRun; readonly bytes: Uint8Array; release(): void };

/** Gathers a request's bytes into whole, verified shards. */
class ShardIntake {
  /** First shard that has not arrived whole. */
  next: number;
  /** The shard `next` arrived and does not match. */
  isBad = false;
  readonly #map: ShardMap;
  readonly #pool: BufferPool;
  #buffer: Uint8Array<ArrayBuffer>;
  #batchFirst: number;
  /** Bytes of the buffer in whole, verified shards. */
  #verified = 0;
  #filled = 0;
  #size: number;
  #digest: string;

  constructor(map: ShardMap, first: number, pool: BufferPool) {
    this.#map = map;
    this.#pool = pool;
    this.#buffer = pool.take();
    this.next = first;
    this.#batchFirst = first;
    const place = map.locate(first);
    this.#size = place.size;
    this.#digest = place.digest;
  }

  /** Whether the next shard does not fit behind the verified ones, or nothing more is of use. */
  get isFull(): boolean {
    return this.#verified > 0 && (this.isBad || this.#verified + this.#size > this.#buffer.length);
  }

  /** Takes bytes up to the end of the current shard; gives how many. */
  add(bytes: Uint8Array): number {
    if (this.isBad) return bytes.length;
    const taken = bytes.subarray(0, this.#verified + this.#size - this.#filled);
    this.#buffer.set(taken, this.#filled);
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
    const size = this.#map.bytesOf({ first, count });
    const rest = buffer.subarray(this.#verified, this.#filled);
    this.#buffer = this.#pool.take();
    this.#buffer.set(rest);
    this.#filled = rest.length;
    this.#verified = 0;
    this.#batchFirst = this.next;
    const release = () => this.#pool.give(buffer);
    return { run: { first, count }, bytes: buffer.subarray(0, size), release };
  }

  release(): void {
    this.#pool.give(this.#buffer);
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
}

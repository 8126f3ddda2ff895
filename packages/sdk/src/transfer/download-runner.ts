// Performs the effects of the download machine: fetches runs, has every shard's hash checked, hands good ones
// to the keeper, and tells the machine what happened and when. Decides nothing.
//
// Memory: two buffers per request (one filling, one being written), each one shard long, so at most 64 × 2 ×
// shardBytes, and 4 × 2 unless more requests make it faster; small shards are gathered until a buffer is full.
import type { ShardRun } from "../artifact/index.ts";
import { WaybillError, assertNever, isAbort } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import { BufferPool, gatherBytes } from "./buffer-pool.ts";
import { type SourceReport, reportSources } from "./download-report.ts";
import {
  type DownloadEffect,
  type DownloadEvent,
  type DownloadInit,
  type DownloadState,
  beginDownload,
  nextDownload,
} from "./download-state.ts";
import { type Batch, ShardIntake } from "./shard-intake.ts";
import { ShardSet } from "./shard-set.ts";
import type { Source, SourceAdvice, SourceKind } from "./source.ts";

/** Bytes are reported to the machine this often. */
const REPORT_EVERY_MS = 100;

/** Where verified shards go. */
export interface ShardKeeper {
  /**
   * Stores a run of shards whose hashes matched; resolves when they will survive the process. The bytes
   * may be reused after that.
   */
  keep(run: ShardRun, bytes: Uint8Array): Promise<void>;
}

/** Which shards somebody waits for: of those a source is asked for, they come first. */
export interface Urgency {
  urgent(): ShardSet;
  /** Tells of changes of `urgent()`; gives what ends it. */
  onUrgent(listener: () => void): () => void;
}

export type DownloadInput = Pick<DownloadInit, "map" | "done" | "prefer" | "retryForMs"> & {
  readonly sources: readonly Source[];
  readonly keeper: ShardKeeper;
  readonly urgency?: Urgency | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of verified bytes as they are kept, and which source brought them. */
  readonly onBytes?: (kind: SourceKind, bytes: number, source: string) => void;
  /** Told when a request failed and its source rests, for how long. */
  readonly onRetry?: (error: unknown, waitMs: number, source: string) => void;
  /** Told when a source is given up, and why. */
  readonly onDrop?: (source: string, reason: string) => void;
  /** Told at the end, however it ends, what each source did and why. */
  readonly onReport?: (report: readonly SourceReport[]) => void;
  /** Monotonic milliseconds. Default `performance.now`. */
  readonly now?: () => number;
};

/**
 * Fetches every missing shard. Throws `no_source_left` naming each source and its reason, what the keeper
 * throws, or the signal's reason. Closes the sources.
 */
export function runDownload(input: DownloadInput): Promise<void> {
  return new DownloadRun(input).run();
}

type Fetching = {
  end: number;
  readonly abort: AbortController;
  /** Bytes the machine has not been told of, and when it was told last. */
  untold: number;
  toldMs: number;
};

/** An event without its time. */
type Happened = DownloadEvent extends infer E
  ? E extends DownloadEvent
    ? Omit<E, "nowMs">
    : never
  : never;

class DownloadRun {
  readonly #input: DownloadInput;
  readonly #pool: BufferPool;
  readonly #sources: ReadonlyMap<string, Source>;
  readonly #fetching = new Map<number, Fetching>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #advice = new Map<string, string>();
  /** By how much the bytes of each source were compressed. */
  readonly #saved = new Map<string, number>();
  readonly #now: () => number;
  #state: DownloadState;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #settle: { resolve: () => void; reject: (error: unknown) => void } | undefined;

  constructor(input: DownloadInput) {
    this.#input = input;
    this.#now = input.now ?? performance.now.bind(performance);
    const { map } = input;
    const longest = Math.min(map.manifest.shardBytes, map.bytes);
    this.#pool = new BufferPool(Math.max(gatherBytes(map.bytes), longest));
    this.#sources = new Map(input.sources.map((source) => [source.id, source]));
    const seed = Math.floor(Math.random() * 2 ** 32);
    this.#state = beginDownload({ ...input, seed, nowMs: this.#now() });
  }

  async run(): Promise<void> {
    const { signal, sources, urgency } = this.#input;
    const end = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    const onAbort = () => {
      if (signal !== undefined) this.#dispatch({ type: "stopped", error: abortReason(signal) });
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const unsubscribe = sources.flatMap((source) => [
      source.onShards?.(() =>
        this.#dispatch({ type: "source-has", source: source.id, has: source.shards() }),
      ),
      source.onGone?.((reason) =>
        this.#dispatch({ type: "source-gone", source: source.id, reason }),
      ),
    ]);
    const onUrgent = () =>
      this.#dispatch({ type: "urgent", shards: urgency?.urgent() ?? ShardSet.empty });
    unsubscribe.push(urgency?.onUrgent(onUrgent));
    try {
      if (signal?.aborted === true) throw abortReason(signal);
      if (urgency !== undefined) onUrgent();
      this.#dispatch({ type: "sources-added", sources: sources.map(described) });
      await end;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      clearTimeout(this.#timer);
      for (const stop of unsubscribe) stop?.();
      for (const { abort } of this.#fetching.values()) abort.abort();
      await Promise.allSettled(this.#tasks);
      await Promise.allSettled(sources.map(async (source) => source.close?.()));
      this.#input.onReport?.(reportSources(this.#state, this.#saved));
    }
  }

  #dispatch(event: Happened): void {
    const nowMs = this.#now();
    const { state, effects } = nextDownload(this.#state, { ...event, nowMs }, this.#input.map);
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
      case "retry":
        this.#input.onRetry?.(effect.error, effect.waitMs, effect.source);
        break;
      case "drop":
        this.#input.onDrop?.(effect.source, effect.reason);
        break;
      case "wake":
        clearTimeout(this.#timer);
        this.#timer = setTimeout(
          () => this.#dispatch({ type: "tick" }),
          // A busy machine may be past it already.
          Math.max(0, Math.ceil(effect.atMs - this.#now())),
        );
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
    const fetching: Fetching = {
      end: run.first + run.count,
      abort: new AbortController(),
      untold: 0,
      toldMs: -Infinity,
    };
    this.#fetching.set(request, fetching);
    const task: Promise<void> = this.#fetch(request, source, run, fetching)
      // A task's own events come after its end, so that its place is free.
      .then((event) => {
        this.#fetching.delete(request);
        this.#advise(source);
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
  ): Promise<Happened | undefined> {
    const intake = new ShardIntake(this.#input.map, run.first, this.#pool);
    let writing: Promise<void> = Promise.resolve();
    let busy = false;
    const flush = async () => {
      if (busy) {
        this.#dispatch({ type: "held", request });
        await writing;
        this.#tell(request, fetching, 0, true);
      }
      await writing;
      const batch = intake.take(fetching.end);
      if (batch === undefined) return;
      busy = true;
      writing = this.#keep(request, source, batch).finally(() => (busy = false));
      // Its failure is seen at the next `await writing`; until then it must not count as unhandled.
      writing.catch(() => undefined);
    };
    const runEnd = run.first + run.count;
    let event: Happened = { type: "ended", request };
    try {
      const into = (at: number) => intake.into(at);
      const onSaved = (bytes: number) => {
        this.#saved.set(source.id, (this.#saved.get(source.id) ?? 0) + bytes);
      };
      for await (const piece of source.fetch(run, {
        signal: fetching.abort.signal,
        into,
        onSaved,
      })) {
        this.#tell(request, fetching, piece.length);
        for (let at = 0; at < piece.length && intake.next < fetching.end;) {
          at += intake.add(piece.subarray(at));
          if (intake.isFull) await flush();
        }
        // A request that came to its own end is read out, so that its connection can be used again.
        if (intake.isBad || (intake.next >= fetching.end && fetching.end < runEnd)) break;
      }
      if (intake.isBad) {
        event = { type: "bad-shard", request };
        source.onBadShard?.();
      }
    } catch (error) {
      if (fetching.abort.signal.aborted && isAbort(error)) return undefined;
      event = { type: "ended", request, error };
    } finally {
      // What has matched is kept whatever came after it (I2).
      await flush();
      if (busy) this.#dispatch({ type: "held", request });
      await writing;
      intake.release();
      this.#tell(request, fetching, 0, true);
    }
    return fetching.abort.signal.aborted ? undefined : event;
  }

  /** Counts bytes of a request; tells the machine now and then, at once of the first, and when it must know. */
  #tell(request: number, fetching: Fetching, bytes: number, always = false): void {
    fetching.untold += bytes;
    const nowMs = this.#now();
    if (!always && nowMs - fetching.toldMs < REPORT_EVERY_MS) return;
    this.#dispatch({ type: "received", request, bytes: fetching.untold });
    fetching.untold = 0;
    fetching.toldMs = nowMs;
  }

  async #keep(request: number, source: Source, batch: Batch): Promise<void> {
    const { run } = batch;
    try {
      const known = this.#state.done.firstRun(run.first);
      // All of it may have come from another source meanwhile.
      const kept = known?.first === run.first && known.count >= run.count;
      if (!kept) await this.#input.keeper.keep(run, batch.bytes);
    } finally {
      batch.release();
    }
    const before = this.#state.leftBytes;
    this.#dispatch({ type: "matched", source: source.id, request, run });
    const bytes = before - this.#state.leftBytes;
    if (bytes > 0) this.#input.onBytes?.(source.kind, bytes, source.id);
  }

  /** Passes on what a source has learned, when that changed. */
  #advise(source: Source): void {
    const advice: SourceAdvice = source.advice?.() ?? {};
    const text = JSON.stringify(advice);
    if (text === (this.#advice.get(source.id) ?? "{}")) return;
    this.#advice.set(source.id, text);
    this.#dispatch({ type: "source-advised", source: source.id, advice });
  }
}

function described(source: Source) {
  return {
    id: source.id,
    kind: source.kind,
    cost: source.cost,
    window: source.window,
    expectedAnswerMs: source.expectedAnswerMs,
    giveUpMs: source.giveUpMs,
    patienceMs: source.patienceMs,
    has: source.shards(),
    mayGain: source.onShards !== undefined,
    runEnd: (first: number) => source.runEnd?.(first) ?? Number.POSITIVE_INFINITY,
  };
}

// Fetches what is asked for and not here: one pull of an artifact into the cache however many read it. Performs what the
// board decides (fill-board.ts); a reader may go at any time.
import type { GrowingTree } from "@waybill/sdk/client";
import type { ArtifactId } from "@waybill/sdk/protocol";
import type { ArtifactCache } from "../worker/cache/artifact-cache.ts";
import type { PullInto } from "../worker/cache/filling.ts";
import { type FillBoard, type FillEffect, type FillEvent, nextFills } from "./fill-board.ts";
import type { Origin } from "./origin.ts";

export type FillsEvent =
  | { readonly type: "fill.started"; readonly artifact: ArtifactId }
  | {
      readonly type: "fill.whole";
      readonly artifact: ArtifactId;
      readonly bytes: number;
      readonly seconds: number;
      /** Bytes by where they came from; `cache` is what an earlier fill or another version had. */
      readonly sources: Readonly<Record<string, number>>;
    }
  | { readonly type: "fill.failed"; readonly artifact: ArtifactId; readonly error: unknown }
  /** Nobody read it, and others needed its place. What was fetched stays. */
  | { readonly type: "fill.stopped"; readonly artifact: ArtifactId };

export type FillsInit = {
  readonly cache: Pick<ArtifactCache, "open">;
  readonly origin: Origin;
  /** Told before anything of a tree is fetched; throws `storage_full` for what is not to be. */
  readonly admit: (tree: GrowingTree) => void;
  readonly onEvent: (event: FillsEvent) => void;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
};

/** A tree as it grows, and where it lies when it is whole. */
export type Growing = { readonly tree: GrowingTree; readonly finalDir: string };

/** Somebody's share in a fill. */
export type FillReader = {
  /** The tree as it grows; undefined when the cache has it whole by now. Rejects with what the origin says. */
  readonly tree: Promise<Growing | undefined>;
  /** Aborted with the reason when nothing more will come. */
  readonly over: AbortSignal;
  /** Idempotent. */
  release(): void;
};

/** Abandoned fills are looked at this often. */
const TICK_MS = 2000;

type Fill = {
  readonly artifact: ArtifactId;
  readonly tree: PromiseWithResolvers<Growing | undefined>;
  /** Ends the pull. */
  readonly abort: AbortController;
  readonly over: AbortController;
  readers: number;
  /** Lets the cache evict it again. */
  letGo: (() => void) | undefined;
};

type Happened = FillEvent extends infer E
  ? E extends FillEvent
    ? Omit<E, "nowMs">
    : never
  : never;

export class Fills {
  readonly #init: FillsInit;
  readonly #now: () => number;
  readonly #fills = new Map<ArtifactId, Fill>();
  readonly #running = new Set<Promise<void>>();
  #board: FillBoard = new Map();
  #timer: ReturnType<typeof setInterval> | undefined;
  #isStopped = false;

  constructor(init: FillsInit) {
    this.#init = init;
    this.#now = init.now ?? performance.now.bind(performance);
  }

  /** Whether an artifact is being fetched, or is to be. */
  has(artifact: ArtifactId): boolean {
    return this.#fills.has(artifact);
  }

  /** Joins the fill of an artifact, or begins it; throws what the origin said a moment ago. Release it. */
  join(artifact: ArtifactId): FillReader {
    const known = this.#fills.get(artifact);
    const fill = known ?? newFill(artifact);
    this.#fills.set(artifact, fill);
    fill.readers += 1;
    try {
      this.#dispatch({ type: "asked", artifact });
    } catch (error) {
      this.#fills.delete(artifact);
      throw error;
    }
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      this.#left(fill);
    };
    return { tree: fill.tree.promise, over: fill.over.signal, release };
  }

  /** Ends fills; what they have fetched stays. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    for (const fill of this.#fills.values()) {
      const reason = new DOMException("the cache is stopping", "AbortError");
      fill.abort.abort(reason);
      this.#end(fill, reason);
    }
    await Promise.all(this.#running);
  }

  #dispatch(event: Happened): void {
    const { board, effects } = nextFills(this.#board, { ...event, nowMs: this.#now() });
    this.#board = board;
    if (board.size > 0 && !this.#isStopped) {
      this.#timer ??= setInterval(() => this.#dispatch({ type: "tick" }), TICK_MS).unref();
    } else {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: FillEffect): void {
    const { artifact } = effect;
    const fill = this.#fills.get(artifact);
    switch (effect.type) {
      case "refuse":
        throw effect.error;
      case "start": {
        if (fill === undefined || this.#isStopped) return;
        const running: Promise<void> = this.#run(fill).finally(() => this.#running.delete(running));
        this.#running.add(running);
        return;
      }
      case "stop":
        // Whoever asks from now on waits for the next fill.
        this.#fills.delete(artifact);
        fill?.abort.abort();
    }
  }

  /** One fill from its beginning to its end; never rejects. */
  async #run(fill: Fill): Promise<void> {
    const { artifact, abort } = fill;
    const { cache, origin, admit, onEvent } = this.#init;
    const { signal } = abort;
    let isStarted = false;
    try {
      const pull: PullInto = (dir, { cacheDir, finalDir, room }) => {
        isStarted = true;
        onEvent({ type: "fill.started", artifact });
        const onTree = async (tree: GrowingTree) => {
          admit(tree);
          await room(tree.map.bytes);
          fill.tree.resolve({ tree, finalDir });
        };
        return origin.pull({ artifact, dir, cacheDir, signal, onTree });
      };
      const lease = await cache.open(artifact, pull, signal);
      const { bytes, seconds, sources } = lease;
      fill.letGo = () => lease.release();
      fill.tree.resolve(undefined);
      if (this.#fills.get(artifact) === fill) this.#fills.delete(artifact);
      if (isStarted) onEvent({ type: "fill.whole", artifact, bytes, seconds, sources });
      this.#dispatch({ type: "whole", artifact });
      if (fill.readers === 0) fill.letGo();
    } catch (error) {
      if (this.#fills.get(artifact) === fill) this.#fills.delete(artifact);
      this.#end(fill, error);
      if (signal.aborted) {
        if (!this.#isStopped) onEvent({ type: "fill.stopped", artifact });
        this.#dispatch({ type: "stopped", artifact });
      } else {
        onEvent({ type: "fill.failed", artifact, error });
        this.#dispatch({ type: "failed", artifact, error });
      }
    }
  }

  /** Tells readers that nothing more comes. */
  #end(fill: Fill, reason: unknown): void {
    fill.tree.reject(reason);
    fill.over.abort(reason);
  }

  #left(fill: Fill): void {
    fill.readers -= 1;
    if (fill.readers === 0) fill.letGo?.();
    // The board knows of fills that go on.
    if (this.#fills.get(fill.artifact) !== fill) return;
    this.#dispatch({ type: "left", artifact: fill.artifact });
    if (!this.#board.has(fill.artifact)) this.#fills.delete(fill.artifact);
  }
}

function newFill(artifact: ArtifactId): Fill {
  const tree = Promise.withResolvers<Growing | undefined>();
  // Its readers may all have gone when it fails.
  tree.promise.catch(() => undefined);
  return {
    artifact,
    tree,
    abort: new AbortController(),
    over: new AbortController(),
    readers: 0,
    letGo: undefined,
  };
}

// The pushing machine as a source, by one route. What it is asked for is the same whichever way (`direct-offer.ts`).
import type { ShardMap, ShardRun } from "../../artifact/index.ts";
import { WaybillError } from "../../protocol/index.ts";
import {
  type FetchOptions,
  ShardSet,
  type Source,
  type SourceAdvice,
  type SourceKind,
} from "../../transfer/index.ts";
import type { DirectOffer } from "./direct-offer.ts";
import type { DirectRoute } from "./direct-route.ts";

export type DirectSourceInit = Pick<Source, "id" | "cost"> & {
  readonly kind: SourceKind;
  readonly map: ShardMap;
  readonly offer: DirectOffer;
  readonly route: DirectRoute;
  /** Whether this route is the one to take now. Default: whenever it is there. */
  readonly isChosen?: () => boolean;
  /** Other routes on which that depends. */
  readonly others?: readonly DirectRoute[];
};

/** The server bounds its requests for all readers together. */
const WINDOW = 8;

export class DirectSource implements Source {
  readonly id: string;
  readonly kind: SourceKind;
  readonly cost: "free" | "paid";
  readonly window = WINDOW;
  readonly #init: DirectSourceInit;
  readonly #listeners = new Set<() => void>();
  readonly #off: (() => void)[];
  #shards = ShardSet.empty;

  constructor(init: DirectSourceInit) {
    this.#init = init;
    this.id = init.id;
    this.kind = init.kind;
    this.cost = init.cost;
    const { route, others = [], offer } = init;
    this.#off = [route, ...others, offer].map((one) => one.onChange(() => this.#look()));
    this.#look();
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
    const { route, offer, map } = this.#init;
    const { inner } = route;
    if (inner === undefined) {
      throw new WaybillError("unreachable", "the pushing machine cannot be reached");
    }
    offer.asked(run);
    let bytes = 0;
    try {
      for await (const piece of inner.fetch(run, options)) {
        bytes += piece.length;
        yield piece;
      }
    } catch (error) {
      if (!options.signal.aborted) route.failed();
      throw passing(error);
    } finally {
      if (bytes < map.bytesOf(run)) offer.missed(run);
    }
  }

  advice(): SourceAdvice {
    return this.#init.route.inner?.advice?.() ?? {};
  }

  async close(): Promise<void> {
    for (const off of this.#off) off();
  }

  #look(): void {
    const { route, offer, isChosen } = this.#init;
    const isThere = route.inner !== undefined && (isChosen?.() ?? true);
    const next = isThere ? offer.shards : ShardSet.empty;
    if (next.minus(this.#shards).isEmpty && this.#shards.minus(next).isEmpty) return;
    this.#shards = next;
    // Not from within the request that changed it.
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener();
    });
  }
}

/** A machine that does not know its announcement any more has been followed by another, or will be. */
function passing(error: unknown): unknown {
  const isRefused =
    error instanceof WaybillError && ["forbidden", "unauthorized"].includes(error.code);
  return isRefused
    ? new WaybillError("unreachable", `the pushing machine refused: ${error.message}`, {
        cause: error,
      })
    : error;
}

// What a regional cache serves: what is whole on its disk, and what it fetches because somebody asks for it.
import type { GrowingTree } from "@waybill/sdk/client";
import { type ArtifactId, WaybillError } from "@waybill/sdk/protocol";
import { abortReason } from "@waybill/sdk/timing";
import type { CachedProvider } from "../data-server/cached-provider.ts";
import type { ServedTree, TreeProvider } from "../data-server/tree-provider.ts";
import type { Fills, Growing } from "./fills.ts";
import { GrowingObjects } from "./growing-objects.ts";

export type ProxyTreesInit = {
  /** What is whole. */
  readonly whole: Pick<CachedProvider, "list" | "open"> & Partial<Pick<CachedProvider, "damaged">>;
  readonly fills: Fills;
  /** Told of every request: what it asked for was here, is being fetched for others, or is fetched because of it. */
  readonly onAsked: (how: "hit" | "shared" | "miss") => void;
};

/** A fill may end, and its artifact give way to others, between two looks; not again and again. */
const MAX_LOOKS = 4;

export class ProxyTrees implements TreeProvider {
  readonly #init: ProxyTreesInit;
  readonly #growing = new WeakMap<GrowingTree, GrowingObjects>();

  constructor(init: ProxyTreesInit) {
    this.#init = init;
  }

  list(): ReturnType<TreeProvider["list"]> {
    return this.#init.whole.list();
  }

  damaged(artifact: ArtifactId): void {
    this.#init.whole.damaged?.(artifact);
  }

  /** Throws what the origin says: `not_found` when the room has no such artifact. */
  async open(artifact: ArtifactId, signal: AbortSignal): Promise<ServedTree | undefined> {
    const { fills, whole, onAsked } = this.#init;
    for (let look = 1; look <= MAX_LOOKS; look += 1) {
      const isFilling = fills.has(artifact);
      const here = isFilling ? undefined : await whole.open(artifact);
      if (here !== undefined) {
        onAsked("hit");
        return here;
      }
      const isShared = fills.has(artifact);
      const tree = await this.#growingTree(artifact, signal);
      if (tree === undefined) continue;
      onAsked(isShared ? "shared" : "miss");
      return tree;
    }
    throw new WaybillError("storage_failed", `${artifact} does not stay in the cache`);
  }

  async #growingTree(artifact: ArtifactId, signal: AbortSignal): Promise<ServedTree | undefined> {
    const reader = this.#init.fills.join(artifact);
    const release = () => reader.release();
    try {
      const growing = await orAborted(reader.tree, signal);
      if (growing !== undefined) {
        const { manifest } = growing.tree.map;
        return { manifest, objects: this.#objectsOf(growing, reader.over), release };
      }
    } catch (error) {
      release();
      throw error;
    }
    release();
    return undefined;
  }

  /** One for all readers of a fill. */
  #objectsOf({ tree, finalDir }: Growing, over: AbortSignal): GrowingObjects {
    const known = this.#growing.get(tree) ?? new GrowingObjects(tree, over, finalDir);
    this.#growing.set(tree, known);
    return known;
  }
}

/** What is promised, or the signal's reason when that comes first. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw abortReason(signal);
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(abortReason(signal));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

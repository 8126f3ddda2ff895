// Artifacts that lie whole in the cache, as a data server gives them. What is read stays open for a moment after its last
// reader: readers make one request after the other, and opening means reading a manifest.
import { ShardMap } from "@waybill/sdk/artifact";
import { GrowingTree } from "@waybill/sdk/client";
import type { ArtifactId } from "@waybill/sdk/protocol";
import { join } from "node:path";
import type { ServedTree } from "../data-server/tree-provider.ts";
import type { CachedTrees, HeldTree } from "../worker/cache/cached-trees.ts";
import { GrowingObjects } from "./growing-objects.ts";

/** How long an artifact that nobody reads stays open. */
const IDLE_MS = 5000;

type Open = {
  readonly opened: Promise<{ held: HeldTree; objects: GrowingObjects } | undefined>;
  /** What is here has changed since: the next reader opens it again. */
  isStale: boolean;
  readers: number;
  timer: ReturnType<typeof setTimeout> | undefined;
};

export class WholeTrees {
  readonly #cache: CachedTrees;
  readonly #open = new Map<ArtifactId, Open>();
  readonly #off: () => void;
  readonly #never = new AbortController().signal;

  constructor(cache: CachedTrees) {
    this.#cache = cache;
    this.#off = cache.onChange(() => this.letGo());
  }

  /** Undefined when it is not here whole. */
  async open(artifact: ArtifactId): Promise<ServedTree | undefined> {
    const known = this.#open.get(artifact);
    const entry = known ?? this.#begin(artifact);
    entry.readers += 1;
    clearTimeout(entry.timer);
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      this.#left(artifact, entry);
    };
    try {
      const tree = await entry.opened;
      if (tree !== undefined) {
        return { manifest: tree.held.manifest, objects: tree.objects, release };
      }
      this.#forget(artifact, entry);
      return undefined;
    } catch (error) {
      this.#forget(artifact, entry);
      throw error;
    }
  }

  /** Lets the cache remove what nobody reads now. */
  letGo(): void {
    for (const [artifact, entry] of this.#open) {
      this.#open.delete(artifact);
      entry.isStale = true;
      if (entry.readers === 0) this.#close(entry);
    }
  }

  stop(): void {
    this.#off();
    this.letGo();
  }

  #begin(artifact: ArtifactId): Open {
    const entry: Open = {
      opened: this.#hold(artifact),
      isStale: false,
      readers: 0,
      timer: undefined,
    };
    this.#open.set(artifact, entry);
    return entry;
  }

  async #hold(artifact: ArtifactId) {
    const held = await this.#cache.hold(artifact);
    if (held === undefined) return undefined;
    const map = new ShardMap(held.manifest);
    const path = (file: number) => join(held.dir, map.file(file).path);
    const tree = new GrowingTree({ artifact, map, paths: (file) => [path(file), path(file)] });
    tree.addAll();
    return { held, objects: new GrowingObjects(tree, this.#never) };
  }

  #left(artifact: ArtifactId, entry: Open): void {
    entry.readers -= 1;
    if (entry.readers > 0) return;
    if (entry.isStale) this.#close(entry);
    else {
      entry.timer = setTimeout(() => {
        this.#forget(artifact, entry);
        this.#close(entry);
      }, IDLE_MS).unref();
    }
  }

  #forget(artifact: ArtifactId, entry: Open): void {
    if (this.#open.get(artifact) === entry) this.#open.delete(artifact);
  }

  #close(entry: Open): void {
    clearTimeout(entry.timer);
    void entry.opened.then(
      (tree) => tree?.held.release(),
      // It was never held.
      () => undefined,
    );
  }
}

// A cache of artifacts as what a data server serves. Requests for one artifact share one hold of it, which is kept for a moment
// after the last one: a reader asks for range after range.
import { type ArtifactId, WaybillError } from "@waybill/sdk/protocol";
import type { CachedTrees, HeldTree } from "../worker/cache/cached-trees.ts";
import { TreeObjects } from "./tree-objects.ts";
import type { ServedTree, TreeProvider } from "./tree-provider.ts";

export type CachedProviderInit = {
  readonly cache: CachedTrees;
  /** Whether all members of the room may have an artifact. */
  readonly isShared: (artifact: ArtifactId) => Promise<boolean>;
  /** Milliseconds; monotonic. */
  readonly now?: () => number;
};

/** What was looked at is not looked at again for this long: reading all of it is work, and it is not served meanwhile. */
const COMPLAINT_MS = 600_000;
/** Longer than a reader takes from one request to the next. */
const LINGER_MS = 5000;

type Open = {
  readonly tree: Promise<{ readonly held: HeldTree; readonly objects: TreeObjects } | undefined>;
  users: number;
  /** It is not to be read any more: damaged, or gone. */
  isOver: boolean;
  timer: NodeJS.Timeout | undefined;
};

export class CachedProvider implements TreeProvider {
  readonly #init: CachedProviderInit;
  readonly #now: () => number;
  readonly #open = new Map<ArtifactId, Open>();
  /** When each was complained of. */
  readonly #complaints = new Map<ArtifactId, number>();
  readonly #unsubscribe: () => void;

  constructor(init: CachedProviderInit) {
    this.#init = init;
    this.#now = init.now ?? performance.now.bind(performance);
    this.#unsubscribe = init.cache.onChange(() => void this.#lookAgain());
  }

  async list(): Promise<readonly { readonly artifact: ArtifactId; readonly bytes: number }[]> {
    const shared: { readonly artifact: ArtifactId; readonly bytes: number }[] = [];
    for (const { artifact, bytes } of await this.#init.cache.list()) {
      if (await this.#init.isShared(artifact)) shared.push({ artifact, bytes });
    }
    return shared;
  }

  async open(artifact: ArtifactId): Promise<ServedTree | undefined> {
    const own = this.#open.get(artifact) ?? this.#begin(artifact);
    own.users += 1;
    clearTimeout(own.timer);
    let isReleased = false;
    const release = () => {
      if (!isReleased) this.#release(artifact, own);
      isReleased = true;
    };
    try {
      const tree = await own.tree;
      if (tree === undefined || own.isOver) {
        release();
        return undefined;
      }
      const { held, objects } = tree;
      const read = (key: string, start: number, end: number) =>
        whileGood(own, objects.read(key, start, end));
      return {
        manifest: held.manifest,
        objects: { sizeOf: (key) => objects.sizeOf(key), read },
        release,
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Only what is being read is looked at: nobody else can have got it from here. */
  damaged(artifact: ArtifactId): void {
    const nowMs = this.#now();
    for (const [known, atMs] of this.#complaints) {
      if (nowMs - atMs >= COMPLAINT_MS) this.#complaints.delete(known);
    }
    if (!this.#open.has(artifact) || this.#complaints.has(artifact)) return;
    this.#complaints.set(artifact, nowMs);
    this.#init.cache.damaged(artifact);
  }

  /** Lets go of everything; answers under way end. */
  stop(): void {
    this.#unsubscribe();
    for (const [artifact, own] of this.#open) this.#end(artifact, own);
  }

  #begin(artifact: ArtifactId): Open {
    const own: Open = { tree: this.#hold(artifact), users: 0, isOver: false, timer: undefined };
    this.#open.set(artifact, own);
    return own;
  }

  async #hold(artifact: ArtifactId): Promise<Awaited<Open["tree"]>> {
    if (!(await this.#init.isShared(artifact))) return undefined;
    const held = await this.#init.cache.hold(artifact);
    if (held === undefined) return undefined;
    const { dir, manifest } = held;
    return {
      held,
      objects: new TreeObjects({ scan: { root: dir, files: manifest.files }, manifest }),
    };
  }

  #release(artifact: ArtifactId, own: Open): void {
    own.users -= 1;
    if (own.users > 0) return;
    if (own.isOver) void this.#letGo(own);
    else {
      own.timer = setTimeout(() => this.#end(artifact, own), LINGER_MS);
      own.timer.unref();
    }
  }

  /** No more of it: what reads it is cut off, and whoever asks next begins anew. */
  #end(artifact: ArtifactId, own: Open): void {
    clearTimeout(own.timer);
    own.isOver = true;
    if (this.#open.get(artifact) === own) this.#open.delete(artifact);
    if (own.users === 0) void this.#letGo(own);
  }

  async #letGo({ tree }: Open): Promise<void> {
    try {
      (await tree)?.held.release();
    } catch {
      // It was never held.
    }
  }

  /** The cache has changed: what it would not give now is not served any more. */
  async #lookAgain(): Promise<void> {
    const all = [...this.#open];
    for (const [artifact, own] of all) {
      if (own.users === 0) {
        this.#end(artifact, own);
        continue;
      }
      const again = await this.#init.cache.hold(artifact).catch(() => undefined);
      again?.release();
      if (again === undefined) this.#end(artifact, own);
    }
  }
}

async function* whileGood(
  own: Open,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    if (own.isOver) throw new WaybillError("source_changed", "it is not to be had here any more");
    yield piece;
  }
}

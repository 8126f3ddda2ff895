// Artifacts this worker has pulled, one read-only directory each, kept for the next job that needs them. The
// least recently used give way when the cache grows over its size; what a job uses never does.
//
//   {cacheDir}/artifacts/{id}/files/…        the tree
//   {cacheDir}/artifacts/{id}/artifact.json  its manifest: what a pull of another version looks its shards up in
//   {cacheDir}/artifacts/{id}/ready.json     written last: size, and a print of every file's state
import { chmod, mkdir, readdir, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { decodeManifest, manifestPieces } from "@waybill/sdk/artifact";
import { ArtifactId, type ArtifactManifest, MANIFEST_KEY, messageOf } from "@waybill/sdk/protocol";
import { abortReason } from "@waybill/sdk/timing";
import { makeWritable, removeTree } from "../data-dir/data-dir.ts";
import { readIfThere, replaceFile } from "../data-dir/files.ts";
import type { Log } from "../ports.ts";
import type { CachedTree, CachedTrees, HeldTree } from "./cached-trees.ts";
import { treeState } from "./tree-state.ts";

export type PullInto = (dir: string) => Promise<{
  readonly bytes: number;
  readonly seconds: number;
  readonly sources: Readonly<Record<string, number>>;
  readonly manifest: ArtifactManifest;
}>;

export type CacheLease = {
  /** The artifact's files; read only. */
  readonly dir: string;
  readonly bytes: number;
  readonly seconds: number;
  /** Bytes by where they came from; `cache` alone when the artifact was here. */
  readonly sources: Readonly<Record<string, number>>;
  release(): void;
};

export type ArtifactCacheInit = {
  readonly cacheDir: string;
  /** Above this, artifacts no job uses are removed. */
  readonly maxBytes: number;
  readonly log: Log;
};

const Ready = v.object({ bytes: v.number(), state: v.string() });

export class ArtifactCache implements CachedTrees {
  readonly #init: ArtifactCacheInit;
  readonly #dir: string;
  readonly #inUse = new Map<string, number>();
  /** One at a time for each artifact: two jobs that start together pull once. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #listeners = new Set<() => void>();
  /** Found wrong by a reader: the next job that needs it pulls it again. */
  readonly #damaged = new Set<string>();

  constructor(init: ArtifactCacheInit) {
    this.#init = init;
    this.#dir = join(init.cacheDir, "artifacts");
  }

  /**
   * The artifact's directory, pulled when it is not here or was changed; held until `release()`. The signal ends
   * waiting for another job's pull; this job's own `pull` has to watch it itself.
   */
  async open(artifact: ArtifactId, pull: PullInto, signal?: AbortSignal): Promise<CacheLease> {
    this.#inUse.set(artifact, (this.#inUse.get(artifact) ?? 0) + 1);
    try {
      const before = this.#turns.get(artifact);
      const mine = settled(before, signal).then(() => this.#fill(artifact, pull));
      // Whoever is next waits for both: one that stops waiting does not let the next pass the first.
      const turn = Promise.allSettled([before, mine]).finally(() => {
        if (this.#turns.get(artifact) === turn) this.#turns.delete(artifact);
      });
      this.#turns.set(artifact, turn);
      const filled = await mine;
      return { ...filled, release: once(() => this.#release(artifact)) };
    } catch (error) {
      this.#release(artifact);
      throw error;
    }
  }

  /** Keeps an artifact from giving way that something uses without having opened it here; returns who lets it go. */
  keep(artifact: ArtifactId): () => void {
    this.#inUse.set(artifact, (this.#inUse.get(artifact) ?? 0) + 1);
    return once(() => this.#release(artifact));
  }

  async list(): Promise<readonly CachedTree[]> {
    const kept = await this.#list();
    return kept
      .filter(({ artifact }) => !this.#damaged.has(artifact))
      .sort((a, b) => b.usedMs - a.usedMs);
  }

  async hold(artifact: ArtifactId): Promise<HeldTree | undefined> {
    const letGo = this.keep(artifact);
    try {
      const place = join(this.#dir, artifact);
      const dir = join(place, "files");
      const ready = parseReady(await readIfThere(join(place, "ready.json")));
      const text = await readIfThere(join(place, MANIFEST_KEY));
      if (ready === undefined || text === undefined || this.#damaged.has(artifact)) {
        letGo();
        return undefined;
      }
      const manifest = decodeManifest(text, artifact);
      return { dir, manifest, bytes: ready.bytes, release: letGo };
    } catch (error) {
      letGo();
      throw error;
    }
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  damaged(artifact: ArtifactId): void {
    this.#damaged.add(artifact);
    this.#init.log("warn", `cache: ${artifact.slice(0, 12)} is damaged; not served any more`);
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  async #fill(artifact: ArtifactId, pull: PullInto): Promise<Omit<CacheLease, "release">> {
    const place = join(this.#dir, artifact);
    const dir = join(place, "files");
    const marker = join(place, "ready.json");
    const startMs = performance.now();
    const ready = parseReady(await readIfThere(marker));
    const isSound = ready !== undefined && !this.#damaged.has(artifact);
    if (isSound && (await treeState(dir)) === ready.state) {
      const now = new Date();
      await utimes(marker, now, now);
      const seconds = (performance.now() - startMs) / 1000;
      return { dir, bytes: ready.bytes, seconds, sources: { cache: ready.bytes } };
    }
    await mkdir(place, { recursive: true, mode: 0o700 });
    const spoilt = ready !== undefined;
    const shared = (this.#inUse.get(artifact) ?? 1) > 1;
    if (spoilt) {
      // A trainer wrote into it. A pull puts files right but leaves what was added, so nothing of it is kept,
      // unless another job is reading it now.
      this.#init.log("warn", `cache: ${artifact.slice(0, 12)} was changed by a job; pulled again`);
      if (!shared) await removeTree(dir);
    }
    await makeWritable(dir);
    const pulled = await pull(dir);
    await makeReadOnly(dir);
    await writeFile(join(place, MANIFEST_KEY), manifestPieces(pulled.manifest), { mode: 0o600 });
    const state = await treeState(dir);
    // Without a new marker, whoever opens it alone pulls it afresh.
    if (!(spoilt && shared)) {
      await replaceFile(marker, JSON.stringify({ bytes: pulled.bytes, state }));
    }
    this.#damaged.delete(artifact);
    await this.#evict(artifact);
    this.#changed();
    return { dir, bytes: pulled.bytes, seconds: pulled.seconds, sources: pulled.sources };
  }

  #release(artifact: string): void {
    const left = (this.#inUse.get(artifact) ?? 1) - 1;
    if (left > 0) this.#inUse.set(artifact, left);
    else this.#inUse.delete(artifact);
  }

  async #evict(newest: string): Promise<void> {
    const kept = await this.#list();
    let total = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { artifact, bytes } of kept.sort((a, b) => a.usedMs - b.usedMs)) {
      if (total <= this.#init.maxBytes) return;
      if (artifact === newest || this.#inUse.has(artifact)) continue;
      try {
        await removeTree(join(this.#dir, artifact));
        total -= bytes;
        this.#init.log("info", `cache: removed artifact ${artifact.slice(0, 12)} (${bytes} bytes)`);
      } catch (error) {
        this.#init.log(
          "warn",
          `cache: cannot remove ${artifact.slice(0, 12)}: ${messageOf(error)}`,
        );
      }
    }
  }

  async #list(): Promise<CachedTree[]> {
    const found: CachedTree[] = [];
    const names = await readdir(this.#dir).catch(() => []);
    for (const name of names) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue;
      const artifact = v.parse(ArtifactId, name);
      const marker = join(this.#dir, artifact, "ready.json");
      const ready = parseReady(await readIfThere(marker));
      if (ready === undefined) continue;
      const { mtimeMs } = await stat(marker);
      found.push({ artifact, bytes: ready.bytes, usedMs: mtimeMs, pinned: false });
    }
    return found;
  }
}

/** Resolves when there is nothing to wait for any more; rejects with the signal's reason. */
async function settled(before: Promise<unknown> | undefined, signal?: AbortSignal): Promise<void> {
  if (before !== undefined) {
    const aborted = Promise.withResolvers<void>();
    const abort = () => aborted.resolve();
    if (signal?.aborted === true) abort();
    signal?.addEventListener("abort", abort, { once: true });
    await Promise.race([before, aborted.promise]);
    signal?.removeEventListener("abort", abort);
  }
  if (signal?.aborted === true) throw abortReason(signal);
}

function parseReady(text: string | undefined): v.InferOutput<typeof Ready> | undefined {
  if (text === undefined) return undefined;
  try {
    return v.parse(Ready, JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Takes write permission from a tree; a trainer that runs as another user or without root cannot change it. */
async function makeReadOnly(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await makeReadOnly(path);
    else if (entry.isFile()) await chmod(path, ((await stat(path)).mode & 0o555) | 0o400);
  }
  await chmod(dir, 0o555);
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (!done) run();
    done = true;
  };
}

// Where the shards of a new artifact lie in files of older versions, at the same offsets or shifted. What an older
// version's manifest tells is taken without reading; for the rest its files are read once and matched (decision 7,
// seen from the other side: the new artifact is the base in which old bytes are looked for).
import { type ShardMap, decodeManifest } from "../artifact/index.ts";
import { type Base, MatchStream, ShardIndex } from "../delta/index.ts";
import { TimeSlice, files } from "../platform/index.ts";
import {
  ArtifactId,
  type ArtifactManifest,
  MANIFEST_KEY,
  WaybillError,
  decodeValue,
} from "../protocol/index.ts";
import type { ShardSet } from "./shard-set.ts";

/** Bytes read at once from an old file. */
const PIECE_BYTES = 1024 * 1024;
/** Older versions that are looked through: the newest is the closest. */
const MAX_VERSIONS = 4;
/** A worker's cache keeps the tree in a folder of its own beside this. */
const READY_FILE = "ready.json";
const FILES_FOLDER = "files";

/** Place of a shard's bytes in a file of this machine. They are verified when they are read. */
export type OldPlace = { readonly path: string; readonly offset: number };

/** Collects places for the shards of an artifact that are wanted. */
export class OlderFiles {
  readonly #base: Base;
  readonly #places = new Map<number, OldPlace>();
  /** Wanted shards without a place, by digest. */
  readonly #wanted = new Map<string, number[]>();
  #index: ShardIndex | undefined;

  constructor(base: Base, wanted: ShardSet) {
    this.#base = base;
    for (const run of wanted.runs()) {
      for (let shard = run.first; shard < run.first + run.count; shard++) {
        const { digest } = base.map.locate(shard);
        const same = this.#wanted.get(digest);
        if (same === undefined) this.#wanted.set(digest, [shard]);
        else same.push(shard);
      }
    }
  }

  get places(): ReadonlyMap<number, OldPlace> {
    return this.#places;
  }

  /** Whether every wanted shard has a place. */
  get isComplete(): boolean {
    return this.#wanted.size === 0;
  }

  /** Notes that bytes with this digest lie there. */
  note(digest: string, place: OldPlace): void {
    for (const shard of this.#wanted.get(digest) ?? []) this.#places.set(shard, place);
    this.#wanted.delete(digest);
  }

  /** Takes what an older version's manifest tells about the files below `dir`, without reading them. */
  noteTree(dir: string, old: ArtifactManifest): void {
    for (const file of old.files) {
      for (const [at, digest] of file.shards.entries()) {
        if (!this.#wanted.has(digest)) continue;
        const path = files.join(dir, file.path);
        this.note(digest, { path, offset: at * old.shardBytes });
      }
    }
  }

  /** Reads an old file and notes every wanted shard in it, at any offset. A file that changes or ends gives less. */
  async search(path: string, as: string, signal?: AbortSignal): Promise<void> {
    const { shardBytes } = this.#base.manifest;
    const facts = files.follow(path);
    if (this.isComplete || facts?.kind !== "file" || facts.size < shardBytes) return;
    this.#index ??= new ShardIndex([this.#base]);
    const match = new MatchStream(this.#index);
    match.beginFile({ path: as, size: facts.size });
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, facts.size));
    const slice = new TimeSlice();
    const file = await files.open(path, "read");
    try {
      for (let at = 0; at < facts.size && !this.isComplete;) {
        await slice.pause(signal);
        const bytes = await file.read(buffer.subarray(0, facts.size - at), at);
        if (bytes === 0) return;
        for (const { start, size, from } of match.take(buffer.subarray(0, bytes))) {
          if (from !== undefined) this.#noteRange(path, start, size, from.shard);
        }
        at += bytes;
      }
    } finally {
      await file.close();
    }
  }

  #noteRange(path: string, start: number, size: number, first: number): void {
    const { map } = this.#base;
    let done = 0;
    for (let shard = first; shard < map.count && done < size; shard++) {
      const place = map.locate(shard);
      this.note(place.digest, { path, offset: start + done });
      done += place.size;
    }
  }
}

/** A folder that holds an older version, with its manifest beside the files. */
export type OlderTree = { readonly dir: string; readonly manifest: ArtifactManifest };

/**
 * Older versions of `name` among the artifacts of a cache, newest first, at most four: folders `<cacheDir>/<id>/` with
 * an `artifact.json`, and the files beside it or, with a `ready.json`, in `files/`. What cannot be read is passed over.
 */
export function olderTrees(cacheDir: string, name: string, except: string): OlderTree[] {
  if (files.follow(cacheDir)?.kind !== "directory") return [];
  const found: { tree: OlderTree; mtimeMs: number }[] = [];
  for (const id of files.names(cacheDir)) {
    if (id === except || !/^[0-9a-f]{64}$/.test(id)) continue;
    const dir = files.join(cacheDir, id);
    try {
      const path = files.join(dir, MANIFEST_KEY);
      const text = files.readText(path);
      if (text === undefined) continue;
      const manifest = decodeManifest(text, decodeValue(ArtifactId, id, `the folder ${dir}`));
      if (manifest.name !== name) continue;
      const apart = files.lookAt(files.join(dir, READY_FILE)) !== undefined;
      const tree = { dir: apart ? files.join(dir, FILES_FOLDER) : dir, manifest };
      found.push({ tree, mtimeMs: files.lookAt(path)?.mtimeMs ?? 0 });
    } catch (error) {
      if (!(error instanceof WaybillError)) throw error;
    }
  }
  return found
    .sort((a, b) => b.mtimeMs - a.mtimeMs)
    .slice(0, MAX_VERSIONS)
    .map(({ tree }) => tree);
}

/** Finds wanted shards in older trees: first by what their manifests tell, then by reading files that may hold the rest. */
export async function searchTrees(
  older: OlderFiles,
  trees: readonly OlderTree[],
  map: ShardMap,
  signal?: AbortSignal,
): Promise<void> {
  for (const { dir, manifest } of trees) older.noteTree(dir, manifest);
  // Without weak sums only aligned content can be found, and that was.
  if (!map.manifest.files.some((file) => file.crcs !== undefined)) return;
  for (const { dir, manifest } of trees) {
    for (const file of manifest.files) {
      if (older.isComplete) return;
      await older.search(files.join(dir, file.path), file.path, signal);
    }
  }
}

// Files of older versions as a source of kind `cache`: each shard lies where it was found. Files are held open, so
// that one which is replaced meanwhile still gives its old bytes.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { createBase } from "../delta/index.ts";
import { type OpenFile, files } from "../platform/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { OlderFiles, type OldPlace, olderTrees, searchTrees } from "./older-files.ts";
import { ShardSet } from "./shard-set.ts";
import type { FetchOptions, Source, SourceFactory } from "./source.ts";

/** Reads at once: one is hashed while the other is read. */
const WINDOW = 2;
const PIECE_BYTES = 1024 * 1024;
/** Files held open; shards in others are left to the other sources. */
const MAX_FILES = 128;

export class OlderFilesSource implements Source {
  readonly id = "cache of older versions";
  readonly kind = "cache";
  readonly cost = "free";
  readonly window = WINDOW;
  readonly #map: ShardMap;
  readonly #places: ReadonlyMap<number, OldPlace>;
  readonly #files: ReadonlyMap<string, OpenFile>;
  readonly #shards: ShardSet;

  private constructor(
    map: ShardMap,
    places: ReadonlyMap<number, OldPlace>,
    open: ReadonlyMap<string, OpenFile>,
  ) {
    this.#map = map;
    this.#places = places;
    this.#files = open;
    const shards = [...places].flatMap(([shard, { path }]) => (open.has(path) ? [shard] : []));
    this.#shards = ShardSet.of(shards.sort((a, b) => a - b).map((first) => ({ first, count: 1 })));
  }

  /** Opens the files of the places; undefined when there are none. */
  static async open(
    map: ShardMap,
    places: ReadonlyMap<number, OldPlace>,
  ): Promise<OlderFilesSource | undefined> {
    const open = new Map<string, OpenFile>();
    for (const { path } of places.values()) {
      if (open.has(path) || open.size >= MAX_FILES) continue;
      try {
        open.set(path, await files.open(path, "read"));
      } catch (error) {
        // Gone or not ours to read: other sources have its shards.
        if (!(error instanceof WaybillError)) throw error;
      }
    }
    return open.size === 0 ? undefined : new OlderFilesSource(map, places, open);
  }

  shards(): ShardSet {
    return this.#shards;
  }

  runEnd(first: number): number {
    const place = this.#places.get(first);
    if (place === undefined) return first + 1;
    let end = first + 1;
    for (let offset = place.offset + this.#map.locate(first).size; end < this.#map.count; end++) {
      const next = this.#places.get(end);
      if (next?.path !== place.path || next.offset !== offset) break;
      offset += this.#map.locate(end).size;
    }
    return end;
  }

  async *fetch(run: ShardRun, { signal }: FetchOptions): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, this.#map.bytesOf(run)));
    for (let shard = run.first; shard < run.first + run.count; shard++) {
      const { size } = this.#map.locate(shard);
      const place = this.#places.get(shard);
      const file = this.#files.get(place?.path ?? "");
      if (place === undefined || file === undefined) {
        throw new WaybillError("internal", `no older file holds shard ${shard}`);
      }
      for (let done = 0; done < size;) {
        signal.throwIfAborted();
        const piece = buffer.subarray(0, size - done);
        if ((await file.read(piece, place.offset + done)) < piece.length) {
          throw new WaybillError("not_found", `${place.path} is shorter than it was`);
        }
        done += piece.length;
        yield piece;
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map(async (file) => file.close()));
  }
}

/**
 * A factory for what older versions of the artifact called `name` in a cache hold of it. Reads their files where
 * their manifests leave shards unfound, at about 1 GB/s, before the first byte is fetched.
 */
export function olderVersions(cacheDir: string, name: string, signal?: AbortSignal): SourceFactory {
  return async ({ artifact, manifest, map }) => {
    const trees = olderTrees(cacheDir, name, artifact);
    if (trees.length === 0) return undefined;
    const older = new OlderFiles(createBase(artifact, manifest), ShardSet.all(map.count));
    await searchTrees(older, trees, map, signal);
    return OlderFilesSource.open(map, older.places);
  };
}

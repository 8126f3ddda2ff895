// A folder that holds an artifact (or some right shards of it) as a source of kind `cache`: a worker's cache,
// an earlier version of the same tree.
import type { ShardMap, ShardPlace, ShardRun } from "../artifact/index.ts";
import { blake3Hex, files } from "../platform/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { ShardSet } from "./shard-set.ts";
import type { Source, SourceFactory } from "./source.ts";

/** Bytes of one read; the piece handed on. */
const PIECE_BYTES = 1024 * 1024;
/** Up to this a file is read whole by one synchronous call. */
const SMALL_FILE_BYTES = 256 * 1024;
/** Reads at once: one is hashed while the other is read. */
const WINDOW = 2;

export type LocalTreeInit = {
  readonly map: ShardMap;
  /** Folder in which the files lie under their own paths. */
  readonly dir: string;
  /** Shards it offers; default: of every file that is there with the right size. They need not be right. */
  readonly shards?: ShardSet;
};

/** Serves shards from a folder. What it serves is verified by the caller like any source's. */
export class LocalTreeSource implements Source {
  readonly id: string;
  readonly kind = "cache";
  readonly cost = "free";
  readonly window = WINDOW;
  readonly #map: ShardMap;
  readonly #dir: string;
  readonly #shards: ShardSet;

  constructor({ map, dir, shards }: LocalTreeInit) {
    this.id = `cache ${dir}`;
    this.#map = map;
    this.#dir = dir;
    this.#shards = shards ?? presentShards(map, dir);
  }

  shards(): ShardSet {
    return this.#shards;
  }

  async *fetch(
    run: ShardRun,
    { signal }: { readonly signal: AbortSignal },
  ): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, this.#map.bytesOf(run)));
    const end = run.first + run.count;
    for (let shard = run.first; shard < end;) {
      const place = this.#map.locate(shard);
      const own = this.#map.shardsOf(place.file);
      const count = Math.min(own.first + own.count, end) - shard;
      const size = this.#map.bytesOf({ first: shard, count });
      const path = files.join(this.#dir, this.#map.file(place.file).path);
      yield* readRange(path, place.offset, size, buffer, signal);
      shard += count;
    }
  }
}

/** A factory for a folder that may hold the artifact; it offers what is there. */
export function localTree(dir: string): SourceFactory {
  return ({ map }) => {
    if (files.follow(dir)?.kind !== "directory") return undefined;
    const source = new LocalTreeSource({ map, dir });
    return source.shards().isEmpty ? undefined : source;
  };
}

async function* readRange(
  path: string,
  start: number,
  size: number,
  buffer: Uint8Array,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const file = await files.open(path, "read");
  try {
    for (let done = 0; done < size;) {
      signal.throwIfAborted();
      const piece = buffer.subarray(0, Math.min(buffer.length, size - done));
      if ((await file.read(piece, start + done)) < piece.length) {
        throw new WaybillError("source_changed", `${path} is shorter than it was`);
      }
      done += piece.length;
      yield piece;
    }
  } finally {
    await file.close();
  }
}

function presentShards(map: ShardMap, dir: string): ShardSet {
  const runs = map.manifest.files.flatMap((file, index) => {
    const facts = files.follow(files.join(dir, file.path));
    return facts?.kind === "file" && facts.size === file.size ? [map.shardsOf(index)] : [];
  });
  return ShardSet.of(runs);
}

/**
 * Hashes the named shards of one file and gives the right ones. A file that is shorter, or not there, has
 * fewer or none of them.
 */
export async function checkShards(
  map: ShardMap,
  path: string,
  shards: readonly ShardRun[],
  signal?: AbortSignal,
): Promise<ShardSet> {
  const facts = files.follow(path);
  const first = shards[0];
  if (facts?.kind !== "file" || first === undefined) return ShardSet.empty;
  if (facts.size <= SMALL_FILE_BYTES) {
    const whole = new Uint8Array(facts.size);
    const { bytes } = files.readSmall(path, whole);
    return rightShards(map, shards, async (place) =>
      place.offset + place.size <= bytes
        ? whole.subarray(place.offset, place.offset + place.size)
        : undefined,
    );
  }
  const buffer = new Uint8Array(map.locate(first.first).size);
  const file = await files.open(path, "read");
  try {
    return await rightShards(map, shards, async (place) => {
      signal?.throwIfAborted();
      const bytes = buffer.subarray(0, place.size);
      return (await file.read(bytes, place.offset)) === place.size ? bytes : undefined;
    });
  } finally {
    await file.close();
  }
}

async function rightShards(
  map: ShardMap,
  shards: readonly ShardRun[],
  read: (place: ShardPlace) => Promise<Uint8Array | undefined>,
): Promise<ShardSet> {
  let right = ShardSet.empty;
  for (const run of shards) {
    for (let shard = run.first; shard < run.first + run.count; shard++) {
      const place = map.locate(shard);
      const bytes = await read(place);
      if (bytes !== undefined && blake3Hex(bytes) === place.digest) {
        right = right.with({ first: shard, count: 1 });
      }
    }
  }
  return right;
}

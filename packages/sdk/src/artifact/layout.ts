// How an artifact's files are cut into shards and laid into stored objects (docs/protocol/artifact.md §3, §4).
import {
  type ArtifactManifest,
  LIMITS,
  type Layout,
  MANIFEST_KEY,
  PACK_KEY,
} from "../protocol/index.ts";
import { shardCount } from "./shard-map.ts";
import { EncodedObject, encodedKey } from "./stored-encoding.ts";

const MIB = 1024 * 1024;
/** With more files than this, a small mean size makes requests the cost: they are packed. */
const MANY_FILES = 64;
/** Below this mean, a file costs more in its request than in its bytes. */
const SMALL_MEAN_BYTES = MIB;

export type SizedFile = { readonly path: string; readonly size: number };
/** An object of an upload's plan. */
export type StoredObject = {
  /** Its key in storage: an encoded object's ends in `.zst`. */
  readonly key: string;
  /** Plain bytes, however it is stored. */
  readonly size: number;
  readonly encoding?: "zstd";
};
/** An object of a finished artifact. */
export type ManifestObject = StoredObject & {
  /** Bytes in storage. */
  readonly storedBytes: number;
};

/**
 * Bytes of a shard: `LIMITS.shardBytes`, doubled until the files are cut at most
 * `LIMITS.shardsPerArtifact` times (a file's first shard is no cut, so many small files change nothing).
 */
export function chooseShardBytes(files: readonly SizedFile[]): number {
  let shardBytes: number = LIMITS.shardBytes;
  const cuts = () =>
    files.reduce((sum, file) => sum + Math.max(0, Math.ceil(file.size / shardBytes) - 1), 0);
  while (cuts() > LIMITS.shardsPerArtifact) shardBytes *= 2;
  return shardBytes;
}

/**
 * `packed` for more files than a plain artifact may have, for more than 64 files of less than 1 MiB on
 * average, and when a file has the manifest's own name; `plain` otherwise.
 */
export function planLayout(files: readonly SizedFile[]): Layout {
  if (files.length > LIMITS.plainObjects) return "packed";
  if (files.some((file) => file.path === MANIFEST_KEY)) return "packed";
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  return files.length > MANY_FILES && bytes / files.length < SMALL_MEAN_BYTES ? "packed" : "plain";
}

/**
 * The objects besides `artifact.json`, in the order of the files; `isEncoded` tells, by the plain key, which
 * are to be stored as zstd frames (never an empty one).
 */
export function storedObjects(
  layout: Layout,
  files: readonly SizedFile[],
  isEncoded: (plainKey: string) => boolean = () => false,
): StoredObject[] {
  const plain =
    layout === "plain"
      ? files.map(({ path, size }) => ({ key: path, size }))
      : [{ key: PACK_KEY, size: files.reduce((sum, file) => sum + file.size, 0) }];
  return plain.map(({ key, size }) =>
    size > 0 && isEncoded(key) ? { key: encodedKey(key), size, encoding: "zstd" } : { key, size },
  );
}

/** The objects of an artifact as its manifest says they are stored, in the order of the files. */
export function manifestObjects(manifest: ArtifactManifest): ManifestObject[] {
  const { layout, files, stored = {}, shardBytes } = manifest;
  const isEncoded = (key: string) => Object.hasOwn(stored, encodedKey(key));
  const shards = new Map(
    layout === "plain"
      ? files.map(({ path, shards: list }) => [encodedKey(path), list.length])
      : [],
  );
  const all = files.reduce((sum, file) => sum + shardCount(file.size, shardBytes), 0);
  return storedObjects(layout, files, isEncoded).map((object) => {
    const entry = object.encoding === undefined ? undefined : stored[object.key];
    if (entry === undefined) return { ...object, storedBytes: object.size };
    const encoded = new EncodedObject(object.key, entry, shards.get(object.key) ?? all);
    return { ...object, storedBytes: encoded.bytes };
  });
}

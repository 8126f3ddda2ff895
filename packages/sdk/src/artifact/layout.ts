// How an artifact's files are cut into shards and laid into stored objects (docs/protocol/artifact.md §3, §4).
import { LIMITS, type Layout, MANIFEST_KEY, PACK_KEY } from "../protocol/index.ts";

const MIB = 1024 * 1024;
/** With more files than this, a small mean size makes requests the cost: they are packed. */
const MANY_FILES = 64;
/** Below this mean, a file costs more in its request than in its bytes. */
const SMALL_MEAN_BYTES = MIB;

export type SizedFile = { readonly path: string; readonly size: number };
export type StoredObject = { readonly key: string; readonly size: number };

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

/** The stored objects besides `artifact.json`, in the order of the files. */
export function storedObjects(layout: Layout, files: readonly SizedFile[]): StoredObject[] {
  if (layout === "plain") return files.map(({ path, size }) => ({ key: path, size }));
  return [{ key: PACK_KEY, size: files.reduce((sum, file) => sum + file.size, 0) }];
}

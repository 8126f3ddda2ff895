// Shards are numbered through the artifact in the order of its files. This maps a number to its digest, its
// place in a file, and its place in the stored object of either layout (docs/protocol/artifact.md §4, §5).
import {
  type ArtifactFile,
  type ArtifactManifest,
  type Digest,
  PACK_KEY,
  WaybillError,
} from "../protocol/index.ts";

/** Shards `first` … `first + count - 1`. */
export type ShardRun = { readonly first: number; readonly count: number };

export type ShardPlace = {
  /** Index into the manifest's files. */
  readonly file: number;
  /** Offset in that file. */
  readonly offset: number;
  readonly size: number;
  readonly digest: Digest;
};

/** Bytes `start` … `start + size - 1` of the stored object `key`. */
export type ObjectRange = { readonly key: string; readonly start: number; readonly size: number };

/** Shards a file of this size is cut into. */
export function shardCount(size: number, shardBytes: number): number {
  return Math.ceil(size / shardBytes);
}

/** Where every shard of an artifact lies. Holds two numbers per file. */
export class ShardMap {
  readonly manifest: ArtifactManifest;
  /** Number of all shards. */
  readonly count: number;
  /** Size of all files together. */
  readonly bytes: number;
  /** First shard of each file; one more entry than files. */
  readonly #firstShard: Uint32Array;
  /** Offset of each file in the concatenation; one more entry than files. */
  readonly #offset: Float64Array;

  constructor(manifest: ArtifactManifest) {
    this.manifest = manifest;
    this.#firstShard = new Uint32Array(manifest.files.length + 1);
    this.#offset = new Float64Array(manifest.files.length + 1);
    let shards = 0;
    let bytes = 0;
    for (const [index, file] of manifest.files.entries()) {
      shards += file.shards.length;
      bytes += file.size;
      this.#firstShard[index + 1] = shards;
      this.#offset[index + 1] = bytes;
    }
    this.count = shards;
    this.bytes = bytes;
  }

  file(index: number): ArtifactFile {
    const file = this.manifest.files[index];
    if (file === undefined) throw new WaybillError("internal", `no file number ${index}`);
    return file;
  }

  /** The shards of a file; `count` is 0 for an empty one. */
  shardsOf(file: number): ShardRun {
    const first = this.#firstShard[file] ?? 0;
    return { first, count: (this.#firstShard[file + 1] ?? first) - first };
  }

  /** Index of the file that holds a shard. */
  fileOf(shard: number): number {
    if (shard < 0 || shard >= this.count) {
      throw new WaybillError("internal", `no shard number ${shard}`);
    }
    let low = 0;
    let high = this.manifest.files.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#firstShard[middle] ?? 0) <= shard) low = middle;
      else high = middle - 1;
    }
    // Empty files share their number with the next one: the last of them holds the shard.
    return low;
  }

  locate(shard: number): ShardPlace {
    const file = this.fileOf(shard);
    const { size, shards } = this.file(file);
    const index = shard - (this.#firstShard[file] ?? 0);
    const digest = shards[index];
    if (digest === undefined) throw new WaybillError("internal", `no shard number ${shard}`);
    const { shardBytes } = this.manifest;
    const offset = index * shardBytes;
    return { file, offset, size: Math.min(shardBytes, size - offset), digest };
  }

  /** Offset of a shard in the concatenation of all files. */
  position(shard: number): number {
    if (shard === this.count) return this.bytes;
    const file = this.fileOf(shard);
    const index = shard - (this.#firstShard[file] ?? 0);
    return (this.#offset[file] ?? 0) + index * this.manifest.shardBytes;
  }

  /** Bytes of a run of shards. */
  bytesOf(run: ShardRun): number {
    return this.position(run.first + run.count) - this.position(run.first);
  }

  /** First shard that is not in the stored object that holds `shard`. */
  objectEnd(shard: number): number {
    if (this.manifest.layout === "packed") return this.count;
    const { first, count } = this.shardsOf(this.fileOf(shard));
    return first + count;
  }

  /** Where a run lies in storage; throws `internal` when it spans objects (`objectEnd` says how far it may go). */
  rangeOf(run: ShardRun): ObjectRange {
    if (run.count < 1 || run.first + run.count > this.objectEnd(run.first)) {
      throw new WaybillError("internal", `shards ${run.first}+${run.count} are not in one object`);
    }
    const size = this.bytesOf(run);
    if (this.manifest.layout === "packed") {
      return { key: PACK_KEY, start: this.position(run.first), size };
    }
    const place = this.locate(run.first);
    return { key: this.file(place.file).path, start: place.offset, size };
  }
}

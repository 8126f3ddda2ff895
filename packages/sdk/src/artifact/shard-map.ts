// Shards are numbered through the artifact in the order of its files. This maps a number to its digest, its
// place in a file, and its place in the stored object of either layout (docs/protocol/artifact.md §4, §5).
import {
  type ArtifactFile,
  type ArtifactManifest,
  type Digest,
  PACK_KEY,
  WaybillError,
} from "../protocol/index.ts";
import { EncodedObject } from "./stored-encoding.ts";

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

/** Bytes `start` … `start + size - 1` of the stored object `key`, as they lie in storage. */
export type ObjectRange = {
  readonly key: string;
  readonly start: number;
  readonly size: number;
  /** Set when these are not the shards themselves but their frames. */
  readonly encoded?: {
    readonly encoding: "zstd";
    /** Length of each shard's frame, in order; they add up to `size`. */
    readonly frameBytes: readonly number[];
  };
};

/** Shards a file of this size is cut into. */
export function shardCount(size: number, shardBytes: number): number {
  return Math.ceil(size / shardBytes);
}

/** Where every shard of an artifact lies. Holds two numbers per file, and one per frame of encoded objects. */
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
  /** Encoded objects by their first file. */
  readonly #encoded = new Map<number, EncodedObject>();

  /** Throws `invalid_request` when an encoded object has not one frame per shard. */
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
    const stored = Object.entries(manifest.stored ?? {});
    for (const [key, entry] of stored) {
      const file = this.#fileOfObject(entry.of);
      const run = manifest.layout === "packed" ? { count: shards } : this.shardsOf(file);
      this.#encoded.set(file, new EncodedObject(key, entry, run.count));
    }
  }

  #fileOfObject(key: string): number {
    const { layout, files } = this.manifest;
    if (layout === "packed" && key === PACK_KEY) return 0;
    const file = layout === "plain" ? files.findIndex(({ path }) => path === key) : -1;
    if (file >= 0) return file;
    throw new WaybillError("invalid_request", `the manifest stores ${key}, which it does not hold`);
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

  /** First shard of the stored object that holds `shard`. */
  objectStart(shard: number): number {
    return this.manifest.layout === "packed" ? 0 : this.shardsOf(this.fileOf(shard)).first;
  }

  /** First shard that is not in the stored object that holds `shard`. */
  objectEnd(shard: number): number {
    if (this.manifest.layout === "packed") return this.count;
    const { first, count } = this.shardsOf(this.fileOf(shard));
    return first + count;
  }

  /** Bytes of a run as they lie in storage; throws as `rangeOf` does. */
  storedBytesOf(run: ShardRun): number {
    const { encoded, first } = this.#objectOf(run);
    if (encoded === undefined) return this.bytesOf(run);
    return encoded.start(run.first - first + run.count) - encoded.start(run.first - first);
  }

  /**
   * Where a run lies in storage: its bytes, or in an encoded object its frames. Throws `internal` when it
   * spans objects (`objectEnd` says how far it may go).
   */
  rangeOf(run: ShardRun): ObjectRange {
    const { encoded, first } = this.#objectOf(run);
    if (encoded !== undefined) {
      const frameBytes = encoded.frameBytes(run.first - first, run.count);
      const { key, encoding } = encoded;
      const start = encoded.start(run.first - first);
      const size = this.storedBytesOf(run);
      return { key, start, size, encoded: { encoding, frameBytes } };
    }
    return this.plainRangeOf(run);
  }

  /** CRC-32 of a shard's frame; undefined when its object is not encoded, or the manifest does not tell. */
  frameCrc(shard: number): number | undefined {
    const { encoded, first } = this.#objectOf({ first: shard, count: 1 });
    return encoded?.frameCrc(shard - first);
  }

  /** Where a run lies in its object's plain form, whether that is stored or encoded. */
  plainRangeOf(run: ShardRun): ObjectRange {
    const size = this.bytesOf(run);
    if (this.manifest.layout === "packed") {
      return { key: PACK_KEY, start: this.position(run.first), size };
    }
    const place = this.locate(run.first);
    return { key: this.file(place.file).path, start: place.offset, size };
  }

  #objectOf(run: ShardRun): { first: number; encoded: EncodedObject | undefined } {
    if (run.count < 1 || run.first + run.count > this.objectEnd(run.first)) {
      throw new WaybillError("internal", `shards ${run.first}+${run.count} are not in one object`);
    }
    if (this.#encoded.size === 0) return { first: 0, encoded: undefined };
    const file = this.manifest.layout === "packed" ? 0 : this.fileOf(run.first);
    return { first: this.objectStart(run.first), encoded: this.#encoded.get(file) };
  }
}

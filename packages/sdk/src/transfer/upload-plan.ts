// Cuts a scanned tree into parts before a byte is read, and decides how much is under way at once.
import {
  type ScannedFile,
  type StoredObject,
  type TreeScan,
  chooseShardBytes,
  planLayout,
  storedObjects,
} from "../artifact/index.ts";
import { LIMITS, type Layout, WaybillError } from "../protocol/index.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
/** Parts of a push: their checksums must fit into the body of `completeUpload` (1 MiB, 14 bytes each). */
const MAX_PARTS = 60_000;
/** Part buffers of a push: leaves a process well below 200 MiB (I3). */
const MEMORY_BYTES = 64 * MIB;
/** S3's largest object. */
const MAX_OBJECT_BYTES = 5 * 1024 * GIB;

/** One body: a whole object (`part` 0) or a part of a multipart one (from 1). */
export type PlannedPart = {
  readonly key: string;
  readonly part: number;
  readonly size: number;
  /** Where it begins in its object. */
  readonly offset: number;
};

export type UploadLimits = {
  /** Bodies under way at once, as bytes: what a kill can make us send again. */
  readonly flightBytes: number;
  /** Bodies under way at once; small ones profit from more than big ones. */
  readonly flightCount: number;
  /** Bodies read and not yet confirmed, as bytes: the memory of a push. */
  readonly memoryBytes: number;
  /** Bodies read and not yet confirmed. */
  readonly memoryCount: number;
};

export type TreeLayout = {
  readonly layout: Layout;
  readonly shardBytes: number;
  readonly partBytes: number;
  readonly objects: readonly StoredObject[];
  readonly parts: readonly PlannedPart[];
  readonly limits: UploadLimits;
};

/** Lays out a tree; throws `too_large` past S3's limits. */
export function layOutTree(scan: TreeScan, options: { concurrency?: number } = {}): TreeLayout {
  const layout = planLayout(scan.files);
  const objects = storedObjects(layout, scan.files);
  const biggest = objects.reduce((most, object) => Math.max(most, object.size), 0);
  if (biggest > MAX_OBJECT_BYTES) {
    throw new WaybillError("too_large", "an object would be larger than 5 TiB", {
      hint: "push the tree in several artifacts",
    });
  }
  const partBytes = choosePartBytes(scan.bytes, biggest);
  return {
    layout,
    shardBytes: chooseShardBytes(scan.files),
    partBytes,
    objects,
    parts: objects.flatMap((object) => partsOf(object, partBytes)),
    limits: chooseLimits(scan.bytes, partBytes, options.concurrency ?? 4),
  };
}

/** The bodies of one object. */
export function partsOf({ key, size }: StoredObject, partBytes: number): PlannedPart[] {
  if (size <= partBytes) return [{ key, part: 0, size, offset: 0 }];
  return Array.from({ length: Math.ceil(size / partBytes) }, (_, index) => {
    const offset = index * partBytes;
    return { key, part: index + 1, size: Math.min(partBytes, size - offset), offset };
  });
}

/**
 * 5 MiB (S3's least) below 2 GiB, so that little is lost when a push is killed; `LIMITS.partBytes` above;
 * more only where 10,000 parts an object or `MAX_PARTS` in all would not reach.
 */
function choosePartBytes(totalBytes: number, biggest: number): number {
  const usual = totalBytes < 2 * GIB ? LIMITS.s3MinPartBytes : LIMITS.partBytes;
  const needed = Math.max(biggest / LIMITS.s3Parts, totalBytes / MAX_PARTS);
  return Math.max(usual, Math.ceil(needed / MIB) * MIB);
}

/**
 * In flight: at most 1/64 of the push, but never less than three of the smallest parts. A push that is
 * killed three times then sends at most 3/64 (4.7 %) twice. In memory: as many parts as fit into 64 MiB
 * (and at least two, which is more only above 32 MiB a part, for objects above 312 GiB): those in flight,
 * and enough read ahead that signing, which takes a round trip, is done for several at once.
 */
function chooseLimits(totalBytes: number, partBytes: number, concurrency: number): UploadLimits {
  const loss = Math.max(3 * LIMITS.s3MinPartBytes, totalBytes / 64);
  const memory = Math.max(2, Math.floor(MEMORY_BYTES / partBytes));
  const flight = clamp(Math.floor(loss / partBytes), 1, Math.min(concurrency, memory - 1));
  return {
    flightBytes: flight * partBytes,
    flightCount: 16,
    memoryBytes: memory * partBytes,
    memoryCount: LIMITS.signBatch,
  };
}

function clamp(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(value, most));
}

/** A piece of a file inside a part. */
export type PartSlice = {
  readonly file: ScannedFile;
  readonly fileIndex: number;
  /** Offset in the file. */
  readonly offset: number;
  readonly size: number;
  /** Offset in the part. */
  readonly at: number;
};

/** Walks a tree's files in step with its parts; call `next` once per part, in order. */
export class PartSlicer {
  readonly #files: readonly ScannedFile[];
  #index = 0;
  #offset = 0;

  constructor(files: readonly ScannedFile[]) {
    this.#files = files;
  }

  /** The slices of the next part. Empty files belong to the part during which they come up. */
  next(part: PlannedPart, packed: boolean): PartSlice[] {
    const slices: PartSlice[] = [];
    let at = 0;
    for (;;) {
      const file = this.#files[this.#index];
      if (file === undefined) break;
      const size = Math.min(file.size - this.#offset, part.size - at);
      // A full part leaves a file with bytes to the next part; an empty file fits everywhere.
      if (size === 0 && file.size > 0) break;
      slices.push({ file, fileIndex: this.#index, offset: this.#offset, size, at });
      at += size;
      this.#offset += size;
      if (this.#offset < file.size) break;
      this.#index += 1;
      this.#offset = 0;
      if (!packed) break;
    }
    return slices;
  }
}

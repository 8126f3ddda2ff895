// How a tree is laid into objects and parts before a byte is read. Only the unit of parts is fixed: part n of
// an object begins at (n − 1) · unitBytes, so parts of any size, cut by any run, lie side by side.
import {
  type ScannedFile,
  type StoredObject,
  type TreeScan,
  chooseShardBytes,
  planLayout,
  storedObjects,
} from "../artifact/index.ts";
import {
  LIMITS,
  type Layout,
  MANIFEST_KEY,
  type UploadStatus,
  WaybillError,
  unitBytesFor,
} from "../protocol/index.ts";

const MIB = 1024 * 1024;
/** S3's largest object. */
const MAX_OBJECT_BYTES = 5 * 1024 * 1024 * MIB;
/** Parts of a push: their list must fit into the body of `completeUpload` (8 MiB, 33 bytes each). */
const MAX_PARTS = 200_000;

/** What a tree's bytes are laid into. */
export type TreeLayout = {
  readonly layout: Layout;
  readonly shardBytes: number;
  readonly objects: readonly StoredObject[];
  readonly rule: PartRule;
};

/** Which parts a multipart object may have (docs/protocol/hub-api.md 25). */
export type PartRule = {
  readonly unitBytes: number;
  /** Least size of a part that does not end its object; a multiple of the unit. */
  readonly minBytes: number;
  /** All parts but an object's last have this size. */
  readonly equalBytes?: number;
};

/** A body that is cut: a whole object (`part` 0) or a part of a multipart one (from 1). */
export type CutPart = {
  readonly key: string;
  readonly part: number;
  /** Bytes of the body. */
  readonly size: number;
  /** Where it begins in its object, in the object's plain form. */
  readonly offset: number;
  /** Bytes of the tree it stands for; absent where they are its own. */
  readonly plainBytes?: number;
};

/**
 * Lays out a tree; `isEncoded` tells, by the plain key, which objects are stored as frames. Throws `too_large` past S3's
 * limits.
 */
export function layOutTree(scan: TreeScan, isEncoded?: (plainKey: string) => boolean): TreeLayout {
  const layout = planLayout(scan.files);
  const objects = storedObjects(layout, scan.files, isEncoded);
  const biggest = objects.reduce((most, object) => Math.max(most, object.size), 0);
  if (biggest > MAX_OBJECT_BYTES) {
    throw new WaybillError("too_large", "an object would be larger than 5 TiB", {
      hint: "push the tree in several artifacts",
    });
  }
  const unitBytes = unitBytesFor(biggest);
  const shardBytes = chooseShardBytes(scan.files);
  return { layout, shardBytes, objects, rule: partRule(unitBytes, scan.bytes) };
}

/** The layout of the session that goes on: what it was opened with, whatever this run would have chosen. */
export function adoptLayout(status: UploadStatus): TreeLayout {
  const { layout, shardBytes, unitBytes, bytes, partRule: rule, equalPartBytes } = status;
  const objects = status.objects
    .filter(({ key }) => key !== MANIFEST_KEY)
    .map(({ key, size, encoding }) => ({ key, size, ...(encoding && { encoding }) }));
  const equal = rule === "equal" ? equalPartBytes : undefined;
  return { layout, shardBytes, objects, rule: partRule(unitBytes, bytes, equal) };
}

/** The layout for whoever only hashes the tree: every object in its plain form. */
export function withoutEncodings(layout: TreeLayout): TreeLayout {
  return { ...layout, objects: layout.objects.map(({ key, size }) => ({ key, size })) };
}

/** The rule of a push of `totalBytes`: 5 MiB at least, more only where `MAX_PARTS` would not reach. */
export function partRule(unitBytes: number, totalBytes: number, equalBytes?: number): PartRule {
  const least = Math.max(LIMITS.s3MinPartBytes, totalBytes / MAX_PARTS);
  const minBytes = Math.ceil(least / unitBytes) * unitBytes;
  return equalBytes === undefined
    ? { unitBytes, minBytes }
    : { unitBytes, minBytes: equalBytes, equalBytes };
}

/** The number of the part that begins at this offset of a multipart object. */
export function partNumberAt(offset: number, { unitBytes }: PartRule): number {
  return offset / unitBytes + 1;
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

/** Walks a tree's files in step with the bytes of its objects; call `next` in their order. */
export class PartSlicer {
  readonly #files: readonly ScannedFile[];
  #index = 0;
  #offset = 0;

  constructor(files: readonly ScannedFile[]) {
    this.#files = files;
  }

  /** The slices of the next `size` bytes. Empty files belong to the bytes during which they come up. */
  next(size: number, packed: boolean): PartSlice[] {
    const slices: PartSlice[] = [];
    let at = 0;
    for (;;) {
      const file = this.#files[this.#index];
      if (file === undefined) break;
      const fits = Math.min(file.size - this.#offset, size - at);
      // A full part leaves a file with bytes to the next one; an empty file fits everywhere.
      if (fits === 0 && file.size > 0) break;
      slices.push({ file, fileIndex: this.#index, offset: this.#offset, size: fits, at });
      at += fits;
      this.#offset += fits;
      if (this.#offset < file.size) break;
      this.#index += 1;
      this.#offset = 0;
      if (!packed) break;
    }
    return slices;
  }
}

/** The slices of `size` bytes at an offset of a stored object, wherever the walk is. */
export function slicesAt(
  files: readonly ScannedFile[],
  packed: boolean,
  range: { readonly key: string; readonly offset: number; readonly size: number },
): PartSlice[] {
  const slices: PartSlice[] = [];
  let start = 0;
  const end = range.offset + range.size;
  for (const [fileIndex, file] of files.entries()) {
    if (!packed && file.path !== range.key) continue;
    const from = Math.max(range.offset, start);
    const size = Math.min(end, start + file.size) - from;
    if (size > 0) {
      slices.push({ file, fileIndex, offset: from - start, size, at: from - range.offset });
    }
    if (packed) start += file.size;
    if (start >= end || !packed) break;
  }
  return slices;
}

// Reads a tree once, part by part: the bytes of a part are hashed into shards, checksummed, and handed on in
// the same buffer. Small files are read by synchronous calls in short slices of time. A file that changes
// under the reader ends the push with `source_changed`; what was hashed is exactly what is sent.
import type { ScannedFile, TreeScan } from "../artifact/index.ts";
import { type FileFacts, type Hasher, type OpenFile, TimeSlice } from "../platform/index.ts";
import { blake3Hex, crc32, createHasher, files, nextTurn } from "../platform/index.ts";
import { type ArtifactFile, type Digest, WaybillError } from "../protocol/index.ts";
import { BufferPool } from "./buffer-pool.ts";
import { type PartSlice, PartSlicer, type PlannedPart, type TreeLayout } from "./upload-plan.ts";

/** Below this a file is read whole by one synchronous call, far below the length of a time slice. */
const SMALL_FILE_BYTES = 256 * 1024;
/** Parts below this get memory of their own size instead of a pooled buffer. */
const SMALL_PART_BYTES = 1024 * 1024;

/** A part in memory. */
export type ReadPart = {
  readonly body: Uint8Array;
  readonly crc32: string;
  /** Gives the buffer back; the body is not touched any more. */
  release(): void;
};

/** Reads the parts of one tree in order; at the end it knows the files' digests. */
export class PartReader {
  readonly #scan: TreeScan;
  readonly #layout: TreeLayout;
  readonly #slicer: PartSlicer;
  readonly #pool: BufferPool;
  readonly #shards: ShardHasher;
  readonly #slice = new TimeSlice();
  readonly #onRead: (bytes: number) => void;
  #open: { readonly index: number; readonly file: OpenFile } | undefined;
  /** Parts are filled one after the other, in order. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(
    scan: TreeScan,
    layout: TreeLayout,
    onRead: (bytes: number) => void = () => undefined,
  ) {
    this.#scan = scan;
    this.#layout = layout;
    this.#slicer = new PartSlicer(scan.files);
    this.#pool = new BufferPool(layout.partBytes);
    this.#shards = new ShardHasher(scan.files.length, layout.shardBytes);
    this.#onRead = onRead;
  }

  /** Reads the next part; calls may overlap but must come in the parts' order. */
  read(part: PlannedPart, signal: AbortSignal): Promise<ReadPart> {
    const slices = this.#slicer.next(part, this.#layout.layout === "packed");
    const result = this.#queue.then(async () => this.#fill(part, slices, signal));
    this.#queue = result.catch(() => undefined);
    return result.then(async (buffer) => {
      // A turn later the next part's read is under way: disk and processor overlap.
      await nextTurn();
      return this.#hashed(buffer, part, slices);
    });
  }

  /** The manifest's files, once every part was read. */
  files(): ArtifactFile[] {
    return this.#scan.files.map(({ path, size, executable }, index) => ({
      path,
      size,
      ...(executable ? { executable } : {}),
      shards: this.#shards.digests(index),
    }));
  }

  async close(): Promise<void> {
    await this.#queue;
    const open = this.#open;
    this.#open = undefined;
    await open?.file.close();
  }

  async #fill(
    part: PlannedPart,
    slices: readonly PartSlice[],
    signal: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const buffer = part.size < SMALL_PART_BYTES ? new Uint8Array(part.size) : this.#pool.take();
    for (const slice of slices) {
      signal.throwIfAborted();
      const into = buffer.subarray(slice.at, slice.at + slice.size);
      if (slice.file.size <= SMALL_FILE_BYTES && slice.size === slice.file.size) {
        await this.#slice.pause(signal);
        this.#readSmall(slice.file, into);
      } else await this.#readBig(slice, into);
    }
    return buffer;
  }

  #readSmall(file: ScannedFile, into: Uint8Array): void {
    const path = files.join(this.#scan.root, file.path);
    const { bytes, before, after } = files.readSmall(path, into);
    this.#assertSame(file, before);
    if (bytes !== file.size) throw changed(path);
    this.#assertSame(file, after);
  }

  async #readBig(slice: PartSlice, into: Uint8Array): Promise<void> {
    const path = files.join(this.#scan.root, slice.file.path);
    if (this.#open?.index !== slice.fileIndex) {
      await this.#open?.file.close();
      this.#open = undefined;
      const file = await files.open(path, "read");
      this.#open = { index: slice.fileIndex, file };
      this.#assertSame(slice.file, await file.facts());
    }
    const { file } = this.#open;
    if ((await file.read(into, slice.offset)) !== slice.size) throw changed(path);
    if (slice.offset + slice.size < slice.file.size) return;
    this.#open = undefined;
    await file.close();
    // By name, not by handle: a file that was replaced meanwhile has changed, too.
    const after = files.follow(path);
    if (after === undefined) throw changed(path);
    this.#assertSame(slice.file, after);
  }

  #assertSame(file: ScannedFile, facts: FileFacts): void {
    const same =
      facts.size === file.size && facts.mtimeMs === file.mtimeMs && facts.inode === file.inode;
    if (!same) throw changed(files.join(this.#scan.root, file.path));
  }

  #hashed(
    buffer: Uint8Array<ArrayBuffer>,
    part: PlannedPart,
    slices: readonly PartSlice[],
  ): ReadPart {
    const body = buffer.subarray(0, part.size);
    for (const slice of slices) {
      this.#shards.take(
        slice.fileIndex,
        slice.offset,
        body.subarray(slice.at, slice.at + slice.size),
        slice.file.size,
      );
    }
    this.#onRead(part.size);
    const pooled = part.size >= SMALL_PART_BYTES;
    return {
      body,
      crc32: crc32Base64(crc32(body)),
      release: () => {
        if (pooled) this.#pool.give(buffer);
      },
    };
  }
}

/** Digests of shards from bytes that come in order, in pieces that know nothing of shards. */
export class ShardHasher {
  readonly #shardBytes: number;
  readonly #digests: Digest[][];
  readonly #hasher: Hasher = createHasher();

  constructor(fileCount: number, shardBytes: number) {
    this.#shardBytes = shardBytes;
    this.#digests = Array.from({ length: fileCount }, () => []);
  }

  /** Takes the bytes of file `index` at `offset`; `fileSize` tells where its last shard ends. */
  take(index: number, offset: number, bytes: Uint8Array, fileSize: number): void {
    const size = this.#shardBytes;
    for (let at = 0; at < bytes.length;) {
      const inShard = (offset + at) % size;
      const start = offset + at - inShard;
      const shardSize = Math.min(size, fileSize - start);
      const piece = bytes.subarray(at, at + shardSize - inShard);
      at += piece.length;
      if (piece.length === shardSize) {
        this.#add(index, blake3Hex(piece));
        continue;
      }
      if (inShard === 0) this.#hasher.reset();
      this.#hasher.update(piece);
      if (inShard + piece.length === shardSize) this.#add(index, this.#hasher.digestHex());
    }
  }

  digests(index: number): Digest[] {
    return this.#digests[index] ?? [];
  }

  #add(index: number, hex: string): void {
    // The platform's own BLAKE3 gives 64 lower-case hex digits: the brand needs no check per shard.
    this.#digests[index]?.push(hex as Digest);
  }
}

/** S3's form of a CRC-32: base64 of its four bytes, the most significant first. */
export function crc32Base64(value: number): string {
  return btoa(
    String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255),
  );
}

function changed(path: string): WaybillError {
  return new WaybillError("source_changed", `${path} changed while it was being pushed`, {
    hint: "push again when nothing writes to it; parts that did not change are not sent again",
  });
}

// The bytes of a tree in the order of its objects: read once, hashed in that order, some of them read again. A
// file that changes under the reader ends the push with `source_changed`.
import { type ScannedFile, type TreeScan, encodeCrcs } from "../artifact/index.ts";
import { type FileFacts, type OpenFile, TimeSlice, crc32, files } from "../platform/index.ts";
import { type ArtifactFile, type Digest, WaybillError } from "../protocol/index.ts";
import { CombinedCrc32, ShardHasher, crc32Base64 } from "./shard-hasher.ts";
import { type PooledBuffer, SpanPool } from "./span-pool.ts";
import {
  type CutPart,
  type PartSlice,
  PartSlicer,
  type TreeLayout,
  slicesAt,
} from "./upload-plan.ts";

/** Below this a file is read whole by one synchronous call, far below the length of a time slice. */
const SMALL_FILE_BYTES = 256 * 1024;

/** A part in memory. */
export type PartBody = {
  readonly bytes: Uint8Array;
  /** Gives the buffer back; the bytes are not touched any more. */
  release(): void;
};

/** Bytes of the tree in a buffer, and which files they are of. */
export type TreeSpan = {
  readonly bytes: Uint8Array;
  readonly slices: readonly PartSlice[];
  release(): void;
};

export type HashedShard = { readonly digest: Digest; readonly crc32: number };

/** The bytes of a tree in the order of its objects, read once, and some of them again. */
export class TreeBytes {
  readonly #scan: TreeScan;
  readonly #packed: boolean;
  readonly #shardBytes: number;
  readonly #slicer: PartSlicer;
  readonly #shards: ShardHasher;
  readonly #slice = new TimeSlice();
  readonly #pool = new SpanPool();
  #open: { readonly index: number; readonly file: OpenFile } | undefined;
  /** Spans are filled one after the other, in order. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(scan: TreeScan, layout: TreeLayout) {
    this.#scan = scan;
    this.#packed = layout.layout === "packed";
    this.#shardBytes = layout.shardBytes;
    this.#slicer = new PartSlicer(scan.files);
    this.#shards = new ShardHasher(scan.files.length, layout.shardBytes);
  }

  /** The next `size` bytes of the object that is being read, or of the next one. */
  read(size: number, signal: AbortSignal): Promise<TreeSpan> {
    const slices = this.#slicer.next(size, this.#packed);
    const filled = this.#queue.then(async () => this.#fill(size, slices, signal));
    this.#queue = filled.catch(() => undefined);
    return filled;
  }

  /** Memory for bytes that were read in pieces. */
  buffer(size: number): PooledBuffer {
    return this.#pool.take(size);
  }

  /** Hashes what was read, in order; gives the bytes' CRC-32. */
  hash({ bytes, slices }: Pick<TreeSpan, "bytes" | "slices">): number {
    const sum = new CombinedCrc32();
    for (const { fileIndex, offset, at, size, file } of slices) {
      this.#shards.take(fileIndex, offset, bytes.subarray(at, at + size), file.size, sum);
    }
    return sum.value;
  }

  /** Hashes what was read, which is whole shards; gives them in order. */
  hashShards({ bytes, slices }: Pick<TreeSpan, "bytes" | "slices">): HashedShard[] {
    this.hash({ bytes, slices });
    return slices.flatMap(({ fileIndex, offset, size }) => {
      const first = offset / this.#shardBytes;
      const end = Math.ceil((offset + size) / this.#shardBytes);
      const crcs = this.#shards.crcs(fileIndex).slice(first, end);
      const digests = this.#shards.digests(fileIndex).slice(first, end);
      return digests.map((digest, at) => ({ digest, crc32: crcs[at] ?? 0 }));
    });
  }

  /** Digests of a file's shards that are whole so far. */
  digests(file: number): readonly Digest[] {
    return this.#shards.digests(file);
  }

  /** Reads bytes that were read before; throws `source_changed` when they have another CRC-32. */
  async readAgain(
    part: Pick<CutPart, "key" | "offset" | "size"> & { readonly crc32: string },
    signal: AbortSignal,
  ): Promise<PartBody> {
    const slices = slicesAt(this.#scan.files, this.#packed, part);
    const { buffer, release } = this.#pool.take(part.size);
    for (const { file, offset, size, at } of slices) {
      await this.#slice.pause(signal);
      const path = files.join(this.#scan.root, file.path);
      const open = await files.open(path, "read");
      try {
        const read = await open.read(buffer.subarray(at, at + size), offset);
        if (read !== size) throw changed(path);
      } finally {
        await open.close();
      }
    }
    const bytes = buffer.subarray(0, part.size);
    if (crc32Base64(crc32(bytes)) !== part.crc32) {
      throw changed(files.join(this.#scan.root, slices[0]?.file.path ?? part.key));
    }
    return { bytes, release };
  }

  manifestFiles(): ArtifactFile[] {
    return this.#scan.files.map(({ path, size, executable, mode }, index) => {
      const crcs = this.#shards.crcs(index);
      return {
        path,
        size,
        ...(executable ? { executable } : {}),
        ...(mode === undefined ? {} : { mode }),
        shards: this.#shards.digests(index),
        ...(crcs.length === 0 ? {} : { crcs: encodeCrcs(crcs) }),
      };
    });
  }

  async close(): Promise<void> {
    await this.#queue;
    const open = this.#open;
    this.#open = undefined;
    await open?.file.close();
  }

  async #fill(size: number, slices: readonly PartSlice[], signal: AbortSignal): Promise<TreeSpan> {
    const { buffer, release } = this.#pool.take(size);
    for (const slice of slices) {
      signal.throwIfAborted();
      const into = buffer.subarray(slice.at, slice.at + slice.size);
      if (slice.file.size <= SMALL_FILE_BYTES && slice.size === slice.file.size) {
        await this.#slice.pause(signal);
        this.#readSmall(slice.file, into);
      } else await this.#readBig(slice, into);
    }
    return { bytes: buffer.subarray(0, size), slices, release };
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
}

function changed(path: string): WaybillError {
  return new WaybillError("source_changed", `${path} changed while it was being pushed`, {
    hint: "push again when nothing writes to it; what did not change is not sent again if the size stays",
  });
}

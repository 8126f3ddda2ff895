// Knows a push by its content before all of it was read: paths, sizes and samples of the bytes, never times or names, so
// that another machine with the same files finds the session an interrupted push left (docs/protocol/artifact.md §7).
// A change where no sample lies goes unnoticed here, and is noticed when the parts' checksums are compared.
import { Digest, type UploadPurpose, WaybillError, decodeValue } from "../protocol/index.ts";
import { createHasher, files as disk } from "../platform/index.ts";
import type { SizedFile } from "./layout.ts";
import type { TreeScan } from "./scan-tree.ts";

const KIB = 1024;
/** Trees up to this are sampled whole: it takes milliseconds. */
const WHOLE_BYTES = 8 * KIB * KIB;
/** But not file by file when they are many: opening is what costs. */
const WHOLE_FILES = 1024;
const SPREAD_BLOCKS = 256;
const BLOCK_BYTES = 16 * KIB;
/** The biggest files are where a dataset's or checkpoint's versions differ: header and end of each are read. */
const BIGGEST_FILES = 64;
/** Files read at once; hides the latency of network disks. */
const READERS = 8;

/** Bytes `offset` … `offset + size - 1` of the file with this index. */
export type SampleBlock = {
  readonly file: number;
  readonly offset: number;
  readonly size: number;
};

/**
 * Which bytes of a tree are sampled, in ascending order and without overlap: all of at most 8 MiB in at most 1024
 * files; else, with the files laid end to end, up to 16 KiB of the file at each of 256 evenly spaced places, and
 * the first and last 16 KiB of each of the 64 biggest files. At most 6 MiB of at most 320 files then.
 */
export function contentSamples(files: readonly SizedFile[]): SampleBlock[] {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (total <= WHOLE_BYTES && files.length <= WHOLE_FILES) {
    const whole = files.map(({ size }, file) => ({ file, offset: 0, size }));
    return whole.filter(({ size }) => size > 0);
  }
  return merged([...spreadBlocks(files, total), ...biggestBlocks(files)]);
}

function spreadBlocks(files: readonly SizedFile[], total: number): SampleBlock[] {
  const step = Math.floor(total / SPREAD_BLOCKS);
  const blocks: SampleBlock[] = [];
  let next = 0;
  let start = 0;
  for (const [file, { size }] of files.entries()) {
    for (; next < SPREAD_BLOCKS && next * step < start + size; next++) {
      blocks.push(blockAt(file, size, next * step - start));
    }
    start += size;
  }
  return blocks;
}

function biggestBlocks(files: readonly SizedFile[]): SampleBlock[] {
  const bySize = Array.from(files, ({ size }, file) => ({ file, size }));
  // Equal sizes keep the order of their paths: every machine picks the same files.
  bySize.sort((a, b) => b.size - a.size || a.file - b.file);
  return bySize
    .slice(0, BIGGEST_FILES)
    .filter(({ size }) => size > 0)
    .flatMap(({ file, size }) => [blockAt(file, size, 0), blockAt(file, size, size)]);
}

/** A block of a file from this offset, or as late as a whole one fits. */
function blockAt(file: number, fileSize: number, offset: number): SampleBlock {
  const size = Math.min(BLOCK_BYTES, fileSize);
  return { file, offset: Math.min(offset, fileSize - size), size };
}

function merged(blocks: SampleBlock[]): SampleBlock[] {
  blocks.sort((a, b) => a.file - b.file || a.offset - b.offset);
  const result: SampleBlock[] = [];
  for (const block of blocks) {
    const last = result.at(-1);
    if (last === undefined || last.file !== block.file || last.offset + last.size < block.offset) {
      result.push(block);
      continue;
    }
    const end = Math.max(last.offset + last.size, block.offset + block.size);
    result[result.length - 1] = { ...last, size: end - last.offset };
  }
  return result;
}

/** What tells pushes of the same content apart. */
export type PushIdentity = {
  readonly purpose: UploadPurpose;
  /** Set to begin anew although a session of this content is there; empty otherwise. */
  readonly salt: string;
};

/**
 * The fingerprint of a push: BLAKE3 of the line `waybill-push 1`, a line with purpose and salt, a line
 * `[path,size,executable]` for each file, and for each sample a line `[file,offset,size]` followed by its bytes.
 * Reads at most 8 MiB. Throws `source_changed` when a file is shorter than the scan says, and `local_io`.
 */
export async function contentFingerprint(
  scan: TreeScan,
  { purpose, salt }: PushIdentity,
  signal?: AbortSignal,
): Promise<Digest> {
  const blocks = contentSamples(scan.files);
  const bytes = await readBlocks(scan, blocks, signal);
  const encoder = new TextEncoder();
  const hasher = createHasher();
  hasher.update(encoder.encode(`waybill-push 1\n${identityLine(purpose, salt)}\n`));
  for (const lines of linesOf(scan)) hasher.update(encoder.encode(lines));
  let at = 0;
  for (const { file, offset, size } of blocks) {
    hasher.update(encoder.encode(`[${file},${offset},${size}]\n`));
    hasher.update(bytes.subarray(at, (at += size)));
  }
  return decodeValue(Digest, hasher.digestHex(), "a fingerprint");
}

/** Members in one order, whatever the order in which the caller made them. */
function identityLine(purpose: UploadPurpose, salt: string): string {
  if (purpose.kind === "dataset") return JSON.stringify(["dataset", purpose.keep, salt]);
  if (purpose.kind === "checkpoint") {
    return JSON.stringify(["checkpoint", purpose.job, purpose.attempt, salt]);
  }
  const { model, modelType, job = null, attempt = null } = purpose;
  return JSON.stringify(["model", model, modelType, job, attempt, salt]);
}

function* linesOf(scan: TreeScan): Generator<string> {
  let lines: string[] = [];
  for (const { path, size, executable } of scan.files) {
    lines.push(`${JSON.stringify([path, size, executable])}\n`);
    if (lines.length < 1024) continue;
    yield lines.join("");
    lines = [];
  }
  yield lines.join("");
}

/** The blocks' bytes, end to end. */
async function readBlocks(
  scan: TreeScan,
  blocks: readonly SampleBlock[],
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(blocks.reduce((sum, block) => sum + block.size, 0));
  const byFile = new Map<number, { offset: number; into: Uint8Array }[]>();
  let at = 0;
  for (const { file, offset, size } of blocks) {
    const reads = byFile.get(file) ?? [];
    reads.push({ offset, into: bytes.subarray(at, (at += size)) });
    byFile.set(file, reads);
  }
  const queue = byFile.entries();
  const reader = async () => {
    for (const [index, reads] of queue) {
      signal?.throwIfAborted();
      const file = scan.files[index];
      if (file !== undefined) await readFile(disk.join(scan.root, file.path), reads);
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
  return bytes;
}

async function readFile(
  path: string,
  reads: readonly { readonly offset: number; readonly into: Uint8Array }[],
): Promise<void> {
  const open = await disk.open(path, "read");
  try {
    for (const { offset, into } of reads) {
      if ((await open.read(into, offset)) === into.length) continue;
      throw new WaybillError("source_changed", `${path} became shorter while it was being read`, {
        hint: "push again when nothing writes to it",
      });
    }
  } finally {
    await open.close();
  }
}

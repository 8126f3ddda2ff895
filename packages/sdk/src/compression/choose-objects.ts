// Which objects of a tree are stored as zstd frames: decided before anything is sent, from samples, because the choice
// is in their keys.
import {
  type ScannedFile,
  type TreeScan,
  compressionRatio,
  compressionSamples,
  paysToCompress,
  unencodablePaths,
} from "../artifact/index.ts";
import { TimeSlice, files, zstd } from "../platform/index.ts";
import { type Layout, PACK_KEY } from "../protocol/index.ts";

/** `auto`: what shrinks; `always`: everything that may be; `never`: nothing. */
export type Compress = "auto" | "never" | "always";

const KIB = 1024;
/** Blocks read of all files together: 16 MiB, 60 ms at level 1. */
const MAX_BLOCKS = 256;
const BLOCK_BYTES = 64 * KIB;
/** Files of this many bytes get all the blocks they can have. */
const WHOLE_SAMPLE_BYTES = 16 * 1024 * KIB;
/** The pack is compressed file by file, so it is judged by whole small files. */
const PACK_FILES = 96;
/** What a pack must gain at least (as `paysToCompress` asks of a file). */
const LEAST_PACK_RATIO = 1.15;

const compressedBytes = (block: Uint8Array) => zstd.compressedBytes(block);

/**
 * Tells by its plain key whether an object of the tree is to be encoded. A file that cannot be read is stored plain:
 * the push itself says what is wrong with it.
 */
export async function chooseEncoded(
  scan: TreeScan,
  layout: Layout,
  compress: Compress,
  signal?: AbortSignal,
): Promise<(plainKey: string) => boolean> {
  if (compress === "never" || !zstd.canCompress || scan.bytes === 0) return () => false;
  if (layout === "packed") {
    const packs = compress === "always" || (await packShrinks(scan, signal));
    return (key) => packs && key === PACK_KEY;
  }
  const never = unencodablePaths(scan.files.map(({ path }) => path));
  if (compress === "always") return (key) => !never.has(key);
  const shrinking = await shrinkingFiles(scan, never, signal);
  return (key) => shrinking.has(key);
}

/** Paths of the files that shrink. */
async function shrinkingFiles(
  { root, files: all }: TreeScan,
  never: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string>> {
  const slice = new TimeSlice();
  const shrinking = new Set<string>();
  /** What the last sampled file of an extension said. */
  const verdicts = new Map<string, boolean>();
  let blocks = MAX_BLOCKS;
  for (const file of all.toSorted((a, b) => b.size - a.size)) {
    if (never.has(file.path)) continue;
    const extension = extensionOf(file.path);
    let shrinks = verdicts.get(extension) ?? false;
    if (blocks > 0) {
      await slice.pause(signal);
      const samples = await readSamples(root, file);
      blocks -= samples.length;
      shrinks = paysToCompress(file.size, samples, compressedBytes);
      verdicts.set(extension, shrinks);
    }
    if (shrinks) shrinking.add(file.path);
  }
  return shrinking;
}

/** Whether the files of a pack, each by itself, shrink on the whole. */
async function packShrinks(
  { root, files: all }: TreeScan,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const slice = new TimeSlice();
  const full = all.filter(({ size }) => size > 0);
  const step = Math.max(1, full.length / PACK_FILES);
  let plain = 0;
  let stored = 0;
  for (let at = 0; at < full.length; at += step) {
    const file = full[Math.floor(at)];
    if (file === undefined) break;
    await slice.pause(signal);
    const samples = await readSamples(root, file);
    const ratio = compressionRatio(samples, compressedBytes);
    plain += file.size;
    stored += file.size / ratio;
  }
  return stored > 0 && plain / stored >= LEAST_PACK_RATIO;
}

async function readSamples(root: string, file: ScannedFile): Promise<Uint8Array[]> {
  const all = compressionSamples(file.size);
  const share = Math.ceil((all.length * file.size) / WHOLE_SAMPLE_BYTES);
  const count = Math.min(all.length, Math.max(1, share));
  const wanted = all.filter((_, index) => index % Math.ceil(all.length / count) === 0);
  const path = files.join(root, file.path);
  try {
    const open = await files.open(path, "read");
    try {
      const samples: Uint8Array[] = [];
      for (const { offset, size } of wanted) {
        const block = new Uint8Array(Math.min(BLOCK_BYTES, size));
        samples.push(block.subarray(0, await open.read(block, offset)));
      }
      return samples;
    } finally {
      await open.close();
    }
  } catch {
    return [];
  }
}

function extensionOf(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  return dot <= 0 ? "" : name.slice(dot).toLowerCase();
}

// Whether compressing an object pays, from a few blocks of it: already compressed formats are known by their first
// bytes, the rest by how far zstd gets at its fastest level. Pure: the caller reads the blocks and brings the compressor.

/** Below this gain, the time for packing and unpacking buys nothing that a link's own changes do not hide. */
const LEAST_RATIO = 1.15;
/** Smaller objects save less than the frames' lengths and a second key cost. */
const LEAST_BYTES = 16 * 1024;
/** Large enough for zstd to find what repeats in text, logs and tables; a megabyte in all, 3 ms at level 1. */
const BLOCK_BYTES = 64 * 1024;
const BLOCKS = 16;

const ASCII = (text: string) => Array.from(text, (character) => character.charCodeAt(0));

/**
 * First bytes of formats whose content is compressed by definition. Containers that may hold plain data (ZIP, as
 * PyTorch writes it without compression; Parquet; HDF5) are not among them: samples decide.
 */
const COMPRESSED: readonly { readonly at: number; readonly bytes: readonly number[] }[] = [
  { at: 0, bytes: [0x1f, 0x8b] }, // gzip
  { at: 0, bytes: [0x28, 0xb5, 0x2f, 0xfd] }, // zstd
  { at: 0, bytes: [0xfd, ...ASCII("7zXZ"), 0] },
  { at: 0, bytes: ASCII("BZh") },
  { at: 0, bytes: [0x04, 0x22, 0x4d, 0x18] }, // lz4
  { at: 0, bytes: [...ASCII("7z"), 0xbc, 0xaf, 0x27, 0x1c] },
  { at: 0, bytes: [...ASCII("Rar!"), 0x1a, 0x07] },
  { at: 0, bytes: [0xff, 0xd8, 0xff] }, // JPEG
  { at: 0, bytes: [0x89, ...ASCII("PNG")] },
  { at: 0, bytes: ASCII("GIF8") },
  { at: 8, bytes: ASCII("WEBP") },
  { at: 4, bytes: ASCII("ftyp") }, // MP4, MOV, HEIC, AVIF
  { at: 0, bytes: [0x1a, 0x45, 0xdf, 0xa3] }, // Matroska, WebM
  { at: 0, bytes: ASCII("OggS") },
  { at: 0, bytes: ASCII("fLaC") },
  { at: 0, bytes: ASCII("ID3") }, // MP3
  { at: 0, bytes: ASCII("wOF2") },
];

/** Whether an object that begins with these bytes is compressed already (12 bytes say it). */
export function isCompressedFormat(head: Uint8Array): boolean {
  return COMPRESSED.some(({ at, bytes }) =>
    bytes.every((byte, index) => head[at + index] === byte),
  );
}

/** Which bytes of an object of this size to sample: up to 16 blocks of 64 KiB, the first at its beginning. */
export function compressionSamples(
  size: number,
): { readonly offset: number; readonly size: number }[] {
  const count = Math.min(BLOCKS, Math.ceil(size / BLOCK_BYTES));
  const last = Math.max(0, size - BLOCK_BYTES);
  return Array.from({ length: count }, (_, index) => ({
    offset: Math.floor((index * last) / Math.max(1, count - 1)),
    size: Math.min(BLOCK_BYTES, size),
  }));
}

/**
 * Whether storing an object as zstd frames pays: it is large enough, no compressed format, and its samples shrink
 * to 1/1.15 or less.
 * @param size bytes of the object
 * @param samples blocks of it, the first from its beginning (`compressionSamples`)
 * @param compress gives the length of a block's zstd frame at level 1
 */
export function paysToCompress(
  size: number,
  samples: readonly Uint8Array[],
  compress: (block: Uint8Array) => number,
): boolean {
  const [head] = samples;
  if (size < LEAST_BYTES || head === undefined || isCompressedFormat(head)) return false;
  return compressionRatio(samples, compress) >= LEAST_RATIO;
}

/** Plain bytes for each compressed one; 1 without samples. */
export function compressionRatio(
  samples: readonly Uint8Array[],
  compress: (block: Uint8Array) => number,
): number {
  let plain = 0;
  let compressed = 0;
  for (const block of samples) {
    if (block.length === 0) continue;
    plain += block.length;
    compressed += compress(block);
  }
  return compressed === 0 ? 1 : plain / compressed;
}

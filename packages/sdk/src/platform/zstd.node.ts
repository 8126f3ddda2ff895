// Zstandard through Node's zlib: real libzstd, on its thread pool (docs/decisions/0009-compression.md).
import { availableParallelism } from "node:os";
import {
  constants,
  zstdCompress,
  zstdCompressSync,
  zstdDecompress,
  zstdDecompressSync,
} from "node:zlib";
import { type Zstd, checkedSize } from "./zstd.ts";

/** Up to this, handing a frame to another thread and back takes longer than making it. */
const SYNC_BYTES = 32 * 1024;
/** The pool has four threads, which read files as well. */
const MOST_PARALLEL = 4;
/** zlib's least. */
const MIN_CHUNK_BYTES = 64;

/** Zstandard of this platform. */
export const zstd: Zstd = {
  canCompress: true,
  parallel: Math.min(MOST_PARALLEL, availableParallelism()),

  async compress(bytes, level) {
    const options = optionsFor(bytes.length, level);
    if (bytes.length <= SYNC_BYTES) return zstdCompressSync(bytes, options);
    return new Promise((resolve, reject) => {
      zstdCompress(bytes, options, (error, frame) => {
        if (error === null) resolve(frame);
        else reject(error);
      });
    });
  },

  compressedBytes: (bytes) => zstdCompressSync(bytes, optionsFor(bytes.length, 1)).length,

  async decompress(frame, size) {
    const options = {
      maxOutputLength: Math.max(1, size),
      chunkSize: Math.max(MIN_CHUNK_BYTES, size + 1),
    };
    if (size <= SYNC_BYTES) return checkedSize(zstdDecompressSync(frame, options), size);
    const bytes = await new Promise<Uint8Array>((resolve, reject) => {
      zstdDecompress(frame, options, (error, plain) => {
        if (error === null) resolve(plain);
        else reject(error);
      });
    });
    return checkedSize(bytes, size);
  },
};

/** One output buffer of about the usual frame's size: the default of 16 KiB halves the speed. */
function optionsFor(size: number, level: number) {
  return {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    chunkSize: Math.max(MIN_CHUNK_BYTES, Math.ceil(size / 2) + 1024),
  };
}

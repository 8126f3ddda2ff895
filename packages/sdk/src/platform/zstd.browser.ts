// Zstandard in browsers: libzstd's decoder as WebAssembly, 300–600 MB/s, loaded when a frame comes
// (docs/decisions/0009-compression.md). Nothing is compressed here.
import type { ZSTDDecoder } from "zstddec";
import { WaybillError } from "../protocol/index.ts";
import { type Zstd, checkedSize } from "./zstd.ts";

let decoder: Promise<ZSTDDecoder> | undefined;

/** Zstandard of this platform. */
export const zstd: Zstd = {
  canCompress: false,
  parallel: 1,

  async compress() {
    throw new WaybillError("internal", "browsers do not compress");
  },

  compressedBytes: (bytes) => bytes.length,

  async decompress(frame, size) {
    decoder ??= load();
    // It answers damage with no bytes or some others.
    return checkedSize((await decoder).decode(frame, size), size);
  },
};

async function load(): Promise<ZSTDDecoder> {
  const module = await import("zstddec");
  const made = new module.ZSTDDecoder();
  await made.init();
  return made;
}

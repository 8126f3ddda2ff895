// zstd frames that hold their bytes as they are (raw blocks, RFC 8878 §3.1.1): what is sent when the link is faster
// than any compression, and what platforms without a compressor make. Made and read here at the speed of copying.
//
//   magic │ descriptor │ content size, 4 bytes │ block header, 3 bytes │ up to 128 KiB │ block header │ …

const MAGIC = 0xfd2fb528;
/** Single segment, content size in 4 bytes; no checksum, no dictionary. */
const DESCRIPTOR = 0b1010_0000;
const HEADER_BYTES = 9;
const BLOCK_HEADER_BYTES = 3;
/** RFC 8878 §3.1.1.2.4. */
const MAX_BLOCK_BYTES = 128 * 1024;

/** Length of the stored frame of so many bytes. */
export function storedFrameBytes(size: number): number {
  return HEADER_BYTES + blocksOf(size) * BLOCK_HEADER_BYTES + size;
}

/** The stored frame of at most 4 GiB. */
export function storedFrame(bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(storedFrameBytes(bytes.length));
  const view = new DataView(frame.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, DESCRIPTOR);
  view.setUint32(5, bytes.length, true);
  let at = HEADER_BYTES;
  for (let block = 0; block < blocksOf(bytes.length); block++) {
    const start = block * MAX_BLOCK_BYTES;
    const piece = bytes.subarray(start, start + MAX_BLOCK_BYTES);
    const isLast = start + piece.length === bytes.length;
    const header = (piece.length << 3) | (isLast ? 1 : 0);
    view.setUint16(at, header & 0xffff, true);
    view.setUint8(at + 2, header >>> 16);
    frame.set(piece, at + BLOCK_HEADER_BYTES);
    at += BLOCK_HEADER_BYTES + piece.length;
  }
  return frame;
}

/** The bytes of a frame made by `storedFrame`; undefined for any other. */
export function storedContent(frame: Uint8Array, size: number): Uint8Array | undefined {
  if (frame.length !== storedFrameBytes(size)) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== DESCRIPTOR) return undefined;
  if (view.getUint32(5, true) !== size) return undefined;
  const bytes = new Uint8Array(size);
  let at = HEADER_BYTES;
  for (let start = 0; start < size || at === HEADER_BYTES;) {
    const length = Math.min(MAX_BLOCK_BYTES, size - start);
    const isLast = start + length === size;
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    if (header !== ((length << 3) | (isLast ? 1 : 0))) return undefined;
    at += BLOCK_HEADER_BYTES;
    bytes.set(frame.subarray(at, at + length), start);
    at += length;
    start += length;
  }
  return bytes;
}

function blocksOf(size: number): number {
  return Math.max(1, Math.ceil(size / MAX_BLOCK_BYTES));
}

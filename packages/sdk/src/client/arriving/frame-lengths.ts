// Where zstd frames end that lie end to end (RFC 8878 §3.1.1), told from their headers and their blocks' alone: a segment of
// an encoded object is read before the manifest that names its frames' lengths.
import { WaybillError } from "../../protocol/index.ts";

const MAGIC = 0xfd2fb528;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const CHECKSUM_BYTES = 4;
const RLE_BLOCK = 1;

/** Lengths of the frames that `bytes` consists of; throws `digest_mismatch` when it consists of something else. */
export function frameLengths(bytes: Uint8Array): number[] {
  const lengths: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = frameLength(bytes.subarray(at));
    lengths.push(length);
    at += length;
  }
  return lengths;
}

function frameLength(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (view.getUint32(0, true) !== MAGIC) throw new RangeError("another magic number");
    const descriptor = view.getUint8(4);
    const isSingle = (descriptor & 0x20) !== 0;
    const sizeFlag = descriptor >>> 6;
    const sizeBytes = sizeFlag === 0 && isSingle ? 1 : (CONTENT_SIZE_BYTES[sizeFlag] ?? 0);
    let at = 5 + (isSingle ? 0 : 1) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0) + sizeBytes;
    for (let isLast = false; !isLast;) {
      const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
      isLast = (header & 1) === 1;
      at += 3 + (((header >>> 1) & 3) === RLE_BLOCK ? 1 : header >>> 3);
    }
    if ((descriptor & 4) !== 0) at += CHECKSUM_BYTES;
    if (at > bytes.length) throw new RangeError("it is cut off");
    return at;
  } catch (cause) {
    throw new WaybillError("digest_mismatch", "a segment does not consist of whole zstd frames", {
      cause,
    });
  }
}

// TensorFlow's record files: length (8 bytes), its checksum, data, its checksum; all little-endian.
import { maskedCrc32c } from "./crc32c.ts";

const HEAD_BYTES = 12;
const TAIL_BYTES = 4;
/** An event of 256 numbers has 10 KiB; what claims more is no record of ours. */
const MAX_RECORD_BYTES = 1024 * 1024;

export function encodeRecord(data: Uint8Array): Buffer {
  const record = Buffer.alloc(HEAD_BYTES + data.length + TAIL_BYTES);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(maskedCrc32c(record.subarray(0, 8)), 8);
  record.set(data, HEAD_BYTES);
  record.writeUInt32LE(maskedCrc32c(data), HEAD_BYTES + data.length);
  return record;
}

/** Whole records at the beginning of a file, and how many bytes they are: a crash may have torn the last one. */
export function countRecords(bytes: Buffer): { readonly records: number; readonly bytes: number } {
  let at = 0;
  for (let records = 0; ; records++) {
    const length = lengthAt(bytes, at);
    if (length === undefined) return { records, bytes: at };
    const end = at + HEAD_BYTES + length;
    const data = bytes.subarray(at + HEAD_BYTES, end);
    if (end + TAIL_BYTES > bytes.length || bytes.readUInt32LE(end) !== maskedCrc32c(data)) {
      return { records, bytes: at };
    }
    at = end + TAIL_BYTES;
  }
}

function lengthAt(bytes: Buffer, at: number): number | undefined {
  if (at + HEAD_BYTES > bytes.length) return undefined;
  const length = Number(bytes.readBigUInt64LE(at));
  const sum = bytes.readUInt32LE(at + 8);
  if (length > MAX_RECORD_BYTES || sum !== maskedCrc32c(bytes.subarray(at, at + 8)))
    return undefined;
  return length;
}

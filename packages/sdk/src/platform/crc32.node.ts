// CRC-32 (ISO 3309, as in zip and S3's x-amz-checksum-crc32) from Node's zlib: 4 GiB/s.
import { crc32 as zlibCrc32 } from "node:zlib";

/** CRC-32 of `bytes` as an unsigned number, going on from `seed` (the CRC of what came before). */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}

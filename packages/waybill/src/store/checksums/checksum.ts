/**
 * The checksums S3 knows: their names, their running form, and how an object's checksum follows
 * from its parts' (COMPOSITE: hash of hashes, FULL_OBJECT: as if the bytes had been hashed whole).
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { combineCrcs, type CombinableCrc } from "./crc-combine.ts";
import type { RunningDigest } from "./running-digest.ts";
import { isWasmAlgorithm, startWasmDigest } from "./wasm-digest.ts";

/** Digest length in bytes of each algorithm. */
const digestBytes = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  MD5: 16,
  SHA1: 20,
  SHA256: 32,
  SHA512: 64,
  XXHASH128: 16,
  XXHASH3: 8,
  XXHASH64: 8,
} as const;

export type ChecksumAlgorithm = keyof typeof digestBytes;
export type ChecksumType = "COMPOSITE" | "FULL_OBJECT";

/** A checksum as it is stored and answered. */
export interface StoredChecksum {
  readonly algorithm: ChecksumAlgorithm;
  readonly type: ChecksumType;
  /** Base64; a composite one ends in `-N` for N parts. */
  readonly value: string;
}

export const checksumAlgorithms = Object.keys(digestBytes) as readonly ChecksumAlgorithm[];

/** What S3 says to a name it does not know. */
export const UNSUPPORTED_ALGORITHM = `Checksum algorithm provided is unsupported. Please try again with any of the valid types: [${checksumAlgorithms.join(", ")}]`;

/** Reads a name such as `CRC32` in any case; `undefined` when S3 has no such algorithm. */
export function parseChecksumAlgorithm(name: string): ChecksumAlgorithm | undefined {
  const upper = name.toUpperCase();
  return checksumAlgorithms.find((algorithm) => algorithm === upper);
}

/** The header (or trailer) that carries a checksum: `x-amz-checksum-crc32`. */
export function checksumHeader(algorithm: ChecksumAlgorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`;
}

/** The XML element that carries a checksum: `ChecksumCRC32`. */
export function checksumElement(algorithm: ChecksumAlgorithm): string {
  return `Checksum${algorithm}`;
}

/** True when `value` is base64 of exactly as many bytes as the algorithm yields. */
export function isChecksumValue(algorithm: ChecksumAlgorithm, value: string): boolean {
  const decoded = Buffer.from(value, "base64");
  return decoded.length === digestBytes[algorithm] && decoded.toString("base64") === value;
}

/** Starts a checksum. */
export async function createChecksum(algorithm: ChecksumAlgorithm): Promise<RunningDigest> {
  if (algorithm === "CRC32") return runningCrc32();
  if (isWasmAlgorithm(algorithm)) return startWasmDigest(algorithm);
  return createHash(algorithm.toLowerCase());
}

function runningCrc32(): RunningDigest {
  let value = 0;
  return {
    update(data) {
      value = crc32(data, value);
    },
    digest() {
      const out = Buffer.alloc(4);
      out.writeUInt32BE(value, 0);
      return out;
    },
  };
}

/** The type S3 gives a multipart upload that names an algorithm but no type. */
export function defaultChecksumType(algorithm: ChecksumAlgorithm): ChecksumType {
  return algorithm === "CRC64NVME" ? "FULL_OBJECT" : "COMPOSITE";
}

/** Whether S3 allows this pair: only CRCs combine, CRC64NVME is never composite. */
export function allowsChecksumType(algorithm: ChecksumAlgorithm, type: ChecksumType): boolean {
  if (type === "COMPOSITE") return algorithm !== "CRC64NVME";
  return isCombinable(algorithm);
}

function isCombinable(algorithm: ChecksumAlgorithm): algorithm is CombinableCrc {
  return algorithm === "CRC32" || algorithm === "CRC32C" || algorithm === "CRC64NVME";
}

/** A part's checksum (base64) and length, as completing an upload needs them. */
export interface PartChecksum {
  readonly value: string;
  readonly bytes: number;
}

/** The object's checksum from its parts', in order; at least one part. */
export async function assembleChecksum(
  algorithm: ChecksumAlgorithm,
  type: ChecksumType,
  parts: readonly PartChecksum[],
): Promise<StoredChecksum> {
  const pieces = parts.map((part) => ({
    crc: Buffer.from(part.value, "base64"),
    bytes: part.bytes,
  }));
  if (type === "FULL_OBJECT" && isCombinable(algorithm)) {
    return { algorithm, type, value: combineCrcs(algorithm, pieces).toString("base64") };
  }
  const whole = await createChecksum(algorithm);
  for (const piece of pieces) whole.update(piece.crc);
  return {
    algorithm,
    type: "COMPOSITE",
    value: `${whole.digest().toString("base64")}-${parts.length}`,
  };
}

/**
 * Makes an object of an upload's parts. No I/O: what the client listed and what the store holds go
 * in, what the object is comes out; the transaction that moves the rows is the caller's.
 */
import { createHash } from "node:crypto";
import {
  assembleChecksum,
  type ChecksumAlgorithm,
  type ChecksumType,
  type StoredChecksum,
} from "../checksums/checksum.ts";
import type { ContentPart } from "../metadata/contents.ts";
import type { Part } from "../metadata/uploads.ts";
import { S3Error } from "../s3-error.ts";

/** A part as the completing client names it. */
export interface ListedPart {
  readonly number: number;
  /** Without quotes. */
  readonly etag: string;
  /** Base64, in the upload's algorithm, when the client gave one. */
  readonly checksum: string | undefined;
}

export interface Assembly {
  /** The parts that make the object, in order. */
  readonly parts: readonly Part[];
  readonly layout: readonly ContentPart[];
  readonly bytes: number;
  /** Without quotes: MD5 of the parts' ETags, a dash, their number. */
  readonly etag: string;
  readonly checksum: StoredChecksum | undefined;
}

/**
 * @param listed what the client says the object consists of
 * @param held the parts the store has, by number
 * @param checksum the upload's algorithm and type
 * @param minPartBytes least size of every part but the last
 * @throws S3Error `InvalidPartOrder`, `InvalidPart`, `EntityTooSmall`
 */
export async function assemble(
  listed: readonly ListedPart[],
  held: ReadonlyMap<number, Part>,
  checksum: { algorithm: ChecksumAlgorithm; type: ChecksumType } | undefined,
  minPartBytes: number,
): Promise<Assembly> {
  const parts: Part[] = [];
  const layout: ContentPart[] = [];
  let bytes = 0;
  for (const [index, claim] of listed.entries()) {
    const previous = listed[index - 1];
    if (previous && claim.number <= previous.number) throw new S3Error("InvalidPartOrder");
    const part = held.get(claim.number);
    if (!part || part.etag !== claim.etag || disagrees(claim, part)) {
      throw new S3Error("InvalidPart", {
        details: { PartNumber: String(claim.number), ETag: claim.etag },
      });
    }
    parts.push(part);
    layout.push({ number: part.number, start: bytes, bytes: part.bytes, checksum: part.checksum });
    bytes += part.bytes;
  }
  for (const part of parts.slice(0, -1)) {
    if (part.bytes < minPartBytes) throw tooSmall(part, minPartBytes);
  }
  const etags = createHash("md5");
  for (const part of parts) etags.update(part.etag, "hex");
  return {
    parts,
    layout,
    bytes,
    etag: `${etags.digest("hex")}-${parts.length}`,
    checksum: checksum && (await objectChecksum(checksum.algorithm, checksum.type, parts)),
  };
}

function tooSmall(part: Part, minPartBytes: number): S3Error {
  return new S3Error("EntityTooSmall", {
    details: {
      ProposedSize: String(part.bytes),
      MinSizeAllowed: String(minPartBytes),
      PartNumber: String(part.number),
      ETag: part.etag,
    },
  });
}

function disagrees(claim: ListedPart, part: Part): boolean {
  return (
    claim.checksum !== undefined && part.checksum !== undefined && claim.checksum !== part.checksum
  );
}

async function objectChecksum(
  algorithm: ChecksumAlgorithm,
  type: ChecksumType,
  parts: readonly Part[],
): Promise<StoredChecksum | undefined> {
  const pieces = parts.flatMap(({ checksum, bytes }) =>
    checksum === undefined ? [] : [{ value: checksum, bytes }],
  );
  if (pieces.length < parts.length) return undefined;
  return assembleChecksum(algorithm, type, pieces);
}

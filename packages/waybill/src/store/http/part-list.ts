/** The body of CompleteMultipartUpload: which parts, in which order, with which checksums. */
import {
  checksumAlgorithms,
  checksumElement,
  isChecksumValue,
  type ChecksumAlgorithm,
} from "../checksums/checksum.ts";
import type { UploadAttributes } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import type { ListedPart } from "../uploads/assemble.ts";
import { unquoteEtag } from "./conditions.ts";
import { childrenNamed, childText, malformed, type XmlElement } from "./xml-reader.ts";

/** S3's bound. */
const MAX_PARTS = 10_000;

/**
 * Reads the parts a client lists.
 *
 * @param expected the checksum the upload was begun with
 * @throws S3Error `MalformedXML`, `InvalidArgument`, and `InvalidRequest` or `BadDigest` when a
 *   part's checksum is missing or of another algorithm
 */
export function readPartList(
  document: XmlElement,
  expected: UploadAttributes["checksum"],
): ListedPart[] {
  const listed = childrenNamed(document, "Part").map((part): ListedPart => {
    const number = readNumber(part);
    const etag = childText(part, "ETag");
    if (etag === undefined) throw malformed();
    return { number, etag: unquoteEtag(etag), checksum: readChecksum(part, number, expected) };
  });
  if (listed.length === 0 || listed.length > MAX_PARTS) throw malformed();
  return listed;
}

function readNumber(part: XmlElement): number {
  const text = childText(part, "PartNumber")?.trim() ?? "";
  if (!/^-?\d{1,9}$/.test(text)) throw malformed();
  if (Number(text) >= 1) return Number(text);
  throw new S3Error("InvalidArgument", {
    message: "PartNumber must be >= 1",
    details: { ArgumentName: "PartNumber", ArgumentValue: text },
  });
}

function readChecksum(
  part: XmlElement,
  number: number,
  expected: UploadAttributes["checksum"],
): string | undefined {
  const given = checksumAlgorithms.flatMap((algorithm) => {
    const value = childText(part, checksumElement(algorithm));
    return value === undefined ? [] : [{ algorithm, value }];
  });
  const [checksum] = given;
  if (given.length > 1) {
    throw invalidChecksum(given.map(({ algorithm, value }) => `${algorithm}:${value};`).join(""));
  }
  if (checksum && !isChecksumValue(checksum.algorithm, checksum.value)) {
    throw invalidChecksum(checksum.value);
  }
  if (!expected) return undefined;
  if (!checksum) {
    if (expected.type === "COMPOSITE") throw missingChecksum(expected.algorithm, number);
    return undefined;
  }
  if (checksum.algorithm === expected.algorithm) return checksum.value;
  throw new S3Error("BadDigest", {
    message: `The ${checksum.algorithm.toLowerCase()} you specified for part ${number} did not match what we received.`,
  });
}

function invalidChecksum(value: string): S3Error {
  return new S3Error("InvalidArgument", {
    message: "Invalid Base64 or multiple checksums present in request",
    details: { ArgumentName: "Checksum", ArgumentValue: value },
  });
}

function missingChecksum(algorithm: ChecksumAlgorithm, number: number): S3Error {
  const name = algorithm.toLowerCase();
  return new S3Error("InvalidRequest", {
    message: `The upload was created using a ${name} checksum. The complete request must include the checksum for each part. It was missing for part ${number} in the request.`,
  });
}

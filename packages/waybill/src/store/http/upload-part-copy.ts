/** UploadPartCopy: a part that shares the source's blobs. */
import { createHash } from "node:crypto";
import { checksumElement, createChecksum, type ChecksumAlgorithm } from "../checksums/checksum.ts";
import type { StoreCore } from "../core.ts";
import type { StoredObject } from "../metadata/objects.ts";
import type { Part } from "../metadata/uploads.ts";
import { digestRange, findCopySource, readCopySource } from "./copy-source.ts";
import type { Call } from "./operation.ts";
import { resolveCopyRange, type ByteRange } from "./range.ts";
import { readPartNumber } from "./upload-part.ts";
import { isoTime, text, xmlDocument } from "./xml-writer.ts";

export async function uploadPartCopy({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const number = readPartNumber(request);
  const from = readCopySource(request);
  const uploadId = request.query.get("uploadId") ?? "";
  const { attributes } = core.uploads.get(bucket.id, request.key, uploadId);
  const algorithm = attributes.checksum?.algorithm;
  let part: Part | undefined;
  // The source may be replaced while its bytes are read for a checksum; then copy the new one.
  while (!part) {
    const source = findCopySource(core, request, from);
    const header = request.header("x-amz-copy-source-range");
    const range =
      header === undefined
        ? { start: 0, bytes: source.bytes }
        : resolveCopyRange(header, source.bytes);
    const checksum = algorithm && (await rangeChecksum(core, source, range, algorithm));
    part = await core.db.transact((transaction) => {
      core.uploads.get(bucket.id, request.key, uploadId);
      const current = findCopySource(core, request, from);
      if (current.content !== source.content || current.etag !== source.etag) return undefined;
      const copied = {
        number,
        content: core.contents.createFromRange(source.content, range.start, range.bytes),
        etag: rangeEtag(source, range),
        bytes: range.bytes,
        modified: core.now(),
        checksum,
      };
      core.uploads.putPart(uploadId, copied, transaction);
      return copied;
    });
  }
  const document = xmlDocument(
    "CopyPartResult",
    text("LastModified", isoTime(part.modified)),
    text("ETag", `"${part.etag}"`),
    algorithm ? text(checksumElement(algorithm), part.checksum) : "",
  );
  response.xml(200, document);
}

/** All of an object keeps its ETag; a range is named after it, so that no byte need be read. */
function rangeEtag(source: StoredObject, range: ByteRange): string {
  const whole = range.start === 0 && range.bytes === source.bytes;
  if (whole && /^[0-9a-f]{32}$/.test(source.etag)) return source.etag;
  return createHash("md5").update(`${source.etag} ${range.start}+${range.bytes}`).digest("hex");
}

async function rangeChecksum(
  core: StoreCore,
  source: StoredObject,
  range: ByteRange,
  algorithm: ChecksumAlgorithm,
): Promise<string> {
  const known = source.attributes.checksum;
  const whole = range.start === 0 && range.bytes === source.bytes;
  if (whole && known?.algorithm === algorithm && known.type === "FULL_OBJECT") return known.value;
  const digest = await createChecksum(algorithm);
  await digestRange(core, source, range, [digest]);
  return digest.digest().toString("base64");
}

/** ListParts */
import { checksumElement } from "../checksums/checksum.ts";
import { keyEncoder, ownerElement } from "./list-common.ts";
import type { Call } from "./operation.ts";
import { element, isoTime, text, xmlDocument } from "./xml-writer.ts";

/** S3's page size. */
const MAX_PARTS = 1000;

export function listParts({ request, response, core }: Call): void {
  const bucket = core.buckets.get(request.bucket);
  const uploadId = request.query.get("uploadId") ?? "";
  const upload = core.uploads.get(bucket.id, request.key, uploadId);
  const encode = keyEncoder(request);
  const limit = request.wholeNumber("max-parts", MAX_PARTS, 0, MAX_PARTS);
  const after = request.wholeNumber("part-number-marker", 0, 0, 2 ** 31 - 1);
  const found = core.uploads.parts(uploadId, after, limit + 1);
  const parts = found.slice(0, limit);
  const truncated = limit > 0 && found.length > limit;
  const { checksum } = upload.attributes;
  const document = xmlDocument(
    "ListPartsResult",
    text("Bucket", bucket.name),
    text("Key", encode(upload.key)),
    text("UploadId", uploadId),
    ownerElement(core.ownerId, "Initiator"),
    ownerElement(core.ownerId),
    text("StorageClass", "STANDARD"),
    text("PartNumberMarker", after),
    text("NextPartNumberMarker", parts.at(-1)?.number ?? 0),
    text("MaxParts", limit),
    text("IsTruncated", truncated),
    text("ChecksumAlgorithm", checksum?.algorithm),
    text("ChecksumType", checksum?.type),
    text("EncodingType", request.query.get("encoding-type")),
    ...parts.map((part) =>
      element(
        "Part",
        text("PartNumber", part.number),
        text("LastModified", isoTime(part.modified)),
        text("ETag", `"${part.etag}"`),
        text("Size", part.bytes),
        checksum ? text(checksumElement(checksum.algorithm), part.checksum) : "",
      ),
    ),
  );
  response.xml(200, document);
}

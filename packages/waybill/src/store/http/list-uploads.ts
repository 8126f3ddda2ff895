/** ListMultipartUploads */
import { listPage, type ListingEntry } from "../metadata/listing.ts";
import { uploadFromRow, type UploadRow } from "../metadata/uploads.ts";
import { S3Error } from "../s3-error.ts";
import { keyEncoder, ownerElement, type KeyEncoder } from "./list-common.ts";
import type { Call } from "./operation.ts";
import { element, isoTime, text, xmlDocument } from "./xml-writer.ts";

/** S3's page size. */
const MAX_UPLOADS = 1000;

export function listUploads({ request, response, core }: Call): void {
  const bucket = core.buckets.get(request.bucket);
  const encode = keyEncoder(request);
  const prefix = request.query.get("prefix") ?? "";
  const delimiter = request.query.get("delimiter") ?? "";
  const keyMarker = request.query.get("key-marker") ?? "";
  // S3 ignores an upload id marker without a key marker.
  const idMarker = keyMarker === "" ? "" : (request.query.get("upload-id-marker") ?? "");
  if (idMarker !== "" && !core.uploads.has(bucket.id, keyMarker, idMarker)) {
    throw new S3Error("InvalidArgument", {
      message: "Invalid uploadId marker",
      details: { ArgumentName: "upload-id-marker", ArgumentValue: idMarker },
    });
  }
  const limit = request.wholeNumber("max-uploads", MAX_UPLOADS, 0, MAX_UPLOADS);
  const marker = Buffer.from(keyMarker);
  const within = function* (): Generator<UploadRow> {
    if (idMarker === "" || !keyMarker.startsWith(prefix)) return;
    for (const row of core.uploads.scan(bucket.id, marker, marker)) {
      if (Buffer.compare(row.key, marker) !== 0) return;
      if (row.id > idMarker) yield row;
    }
  };
  const rest: ListingEntry<UploadRow>[] = [...within()].map((row) => ({ kind: "row", row }));
  const page = listPage({ prefix, delimiter, after: keyMarker, limit }, (start, from) =>
    core.uploads.scan(bucket.id, start, from),
  );
  const all = [...rest, ...page.entries];
  const entries = all.slice(0, limit);
  const truncated = limit > 0 && (page.truncated || all.length > limit);
  const last = entries.at(-1);
  const owners = [ownerElement(core.ownerId, "Initiator"), ownerElement(core.ownerId)];
  const document = xmlDocument(
    "ListMultipartUploadsResult",
    text("Bucket", bucket.name),
    text("KeyMarker", encode(keyMarker)),
    text("UploadIdMarker", request.query.get("upload-id-marker") ?? ""),
    ...(truncated && last ? nextMarkers(last, encode) : []),
    delimiter === "" ? "" : text("Delimiter", encode(delimiter)),
    text("Prefix", encode(prefix)),
    text("MaxUploads", limit),
    text("EncodingType", request.query.get("encoding-type")),
    text("IsTruncated", truncated),
    ...entries.map((entry) => listed(entry, encode, owners)),
  );
  response.xml(200, document);
}

function nextMarkers(last: ListingEntry<UploadRow>, encode: KeyEncoder): string[] {
  if (last.kind === "prefix") return [text("NextKeyMarker", encode(last.prefix))];
  const { key, id } = uploadFromRow(last.row);
  return [text("NextKeyMarker", encode(key)), text("NextUploadIdMarker", id)];
}

function listed(
  entry: ListingEntry<UploadRow>,
  encode: KeyEncoder,
  owners: readonly string[],
): string {
  if (entry.kind === "prefix") {
    return element("CommonPrefixes", text("Prefix", encode(entry.prefix)));
  }
  const { key, id, initiated, attributes } = uploadFromRow(entry.row);
  return element(
    "Upload",
    text("Key", encode(key)),
    text("UploadId", id),
    ...owners,
    text("StorageClass", "STANDARD"),
    text("Initiated", isoTime(initiated)),
    text("ChecksumAlgorithm", attributes.checksum?.algorithm),
    text("ChecksumType", attributes.checksum?.type),
  );
}

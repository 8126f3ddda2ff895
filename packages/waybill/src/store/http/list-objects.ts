/** ListObjects, ListObjectsV2 and ListObjectVersions */
import { listPage, type ListingEntry, type ListingPage } from "../metadata/listing.ts";
import { objectFromRow, type ObjectRow } from "../metadata/objects.ts";
import type { StoreCore } from "../core.ts";
import { S3Error } from "../s3-error.ts";
import { keyEncoder, ownerElement, type KeyEncoder } from "./list-common.ts";
import type { Call } from "./operation.ts";
import type { S3Request } from "./s3-request.ts";
import { element, isoTime, text, xmlDocument } from "./xml-writer.ts";

/** S3's page size. */
const MAX_KEYS = 1000;

interface Listing {
  readonly prefix: string;
  readonly delimiter: string;
  readonly maxKeys: number;
  readonly encode: KeyEncoder;
  readonly page: ListingPage<ObjectRow>;
}

export function listObjects({ request, response, core }: Call): void {
  const marker = request.query.get("marker") ?? "";
  const listing = list(core, request, marker);
  const { page, encode } = listing;
  const owner = ownerElement(core.ownerId);
  const document = xmlDocument(
    "ListBucketResult",
    ...head(request, listing),
    text("Marker", encode(marker)),
    page.truncated ? text("NextMarker", encode(page.last)) : "",
    text("IsTruncated", page.truncated),
    ...page.entries.map((entry) => listed(entry, encode, owner)),
  );
  response.xml(200, document);
}

export function listObjectsV2({ request, response, core }: Call): void {
  const token = request.query.get("continuation-token");
  const startAfter = request.query.get("start-after");
  const listing = list(core, request, token ? readToken(token) : (startAfter ?? ""));
  const { page, encode } = listing;
  const owner = request.query.get("fetch-owner") === "true" ? ownerElement(core.ownerId) : "";
  const document = xmlDocument(
    "ListBucketResult",
    ...head(request, listing),
    text("KeyCount", page.entries.length),
    text("ContinuationToken", token),
    text("StartAfter", startAfter === undefined ? undefined : encode(startAfter)),
    text("IsTruncated", page.truncated),
    page.truncated ? text("NextContinuationToken", writeToken(page.last)) : "",
    ...page.entries.map((entry) => listed(entry, encode, owner)),
  );
  response.xml(200, document);
}

export function listObjectVersions({ request, response, core }: Call): void {
  const marker = request.query.get("key-marker") ?? "";
  const listing = list(core, request, marker);
  const { page, encode } = listing;
  const document = xmlDocument(
    "ListVersionsResult",
    ...head(request, listing),
    text("KeyMarker", encode(marker)),
    text("VersionIdMarker", request.query.get("version-id-marker") ?? ""),
    text("IsTruncated", page.truncated),
    page.truncated
      ? text("NextKeyMarker", encode(page.last)) + text("NextVersionIdMarker", "null")
      : "",
    ...page.entries.map((entry) => listedVersion(entry, encode, ownerElement(core.ownerId))),
  );
  response.xml(200, document);
}

function list(core: StoreCore, request: S3Request, after: string): Listing {
  const bucket = core.buckets.get(request.bucket);
  const prefix = request.query.get("prefix") ?? "";
  const delimiter = request.query.get("delimiter") ?? "";
  const maxKeys = request.wholeNumber("max-keys", MAX_KEYS, 0, MAX_KEYS);
  const encode = keyEncoder(request);
  const page = listPage({ prefix, delimiter, after, limit: maxKeys }, (from, start) =>
    core.objects.scan(bucket.id, from, start),
  );
  return { prefix, delimiter, maxKeys, encode, page };
}

function head(request: S3Request, { prefix, delimiter, maxKeys, encode }: Listing): string[] {
  // boto3 decodes the prefix of every listing but version 1's.
  const plain = !request.query.has("list-type") && !request.query.has("versions");
  return [
    text("Name", request.bucket),
    text("Prefix", plain ? prefix : encode(prefix)),
    delimiter === "" ? "" : text("Delimiter", encode(delimiter)),
    text("MaxKeys", maxKeys),
    text("EncodingType", request.query.get("encoding-type")),
  ];
}

function listed(entry: ListingEntry<ObjectRow>, encode: KeyEncoder, owner: string): string {
  if (entry.kind === "prefix") return commonPrefix(entry.prefix, encode);
  const object = objectFromRow(entry.row);
  const { checksum } = object.attributes;
  return element(
    "Contents",
    text("Key", encode(object.key)),
    text("LastModified", isoTime(object.modified)),
    text("ETag", `"${object.etag}"`),
    text("ChecksumAlgorithm", checksum?.algorithm),
    text("ChecksumType", checksum?.type),
    text("Size", object.bytes),
    owner,
    text("StorageClass", "STANDARD"),
  );
}

function listedVersion(entry: ListingEntry<ObjectRow>, encode: KeyEncoder, owner: string): string {
  if (entry.kind === "prefix") return commonPrefix(entry.prefix, encode);
  const object = objectFromRow(entry.row);
  return element(
    "Version",
    text("Key", encode(object.key)),
    text("VersionId", "null"),
    text("IsLatest", true),
    text("LastModified", isoTime(object.modified)),
    text("ETag", `"${object.etag}"`),
    text("Size", object.bytes),
    text("StorageClass", "STANDARD"),
    owner,
  );
}

function commonPrefix(prefix: string, encode: KeyEncoder): string {
  return element("CommonPrefixes", text("Prefix", encode(prefix)));
}

/** Tokens are opaque to clients; the version digit lets their form change. */
function writeToken(last: string): string {
  return Buffer.from(`1${last}`).toString("base64url");
}

function readToken(token: string): string {
  const decoded = Buffer.from(token, "base64url");
  const entry = decoded.toString("utf8");
  if (entry.startsWith("1") && Buffer.from(entry).equals(decoded)) return entry.slice(1);
  throw new S3Error("InvalidArgument", {
    message: "The continuation token provided is incorrect",
    details: { ArgumentName: "continuation-token" },
  });
}

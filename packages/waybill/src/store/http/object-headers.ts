/** What clients say about an object in headers, and how it is said back to them. */
import { checksumHeader, type StoredChecksum } from "../checksums/checksum.ts";
import type { ObjectAttributes, StoredObject } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import type { S3Request } from "./s3-request.ts";
import type { ResponseHeaders } from "./s3-response.ts";
import { parseTagHeader } from "./tags.ts";

/** Kept with the object and answered as they were. */
const KEPT_HEADERS = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-type",
  "expires",
  "x-amz-website-redirect-location",
] as const;

const DEFAULT_TYPE = "binary/octet-stream";
const USER_PREFIX = "x-amz-meta-";
/** S3's bound for all names and values together. */
const MAX_USER_BYTES = 2048;

/** Answered instead of the stored header when a signed request asks: `response-content-type`. */
const OVERRIDABLE = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-type",
  "expires",
] as const;

/**
 * Attributes of an object about to be written.
 *
 * @throws S3Error when a header asks for something this store does not do (encryption keys, ACLs,
 *   storage classes, object lock): silently ignoring those would break a promise
 */
export function readAttributes(request: S3Request): ObjectAttributes {
  refuseUnsupported(request);
  const headers: Record<string, string> = { "content-type": DEFAULT_TYPE };
  for (const name of KEPT_HEADERS) {
    const value = request.header(name);
    if (value) headers[name] = value;
  }
  const redirect = headers["x-amz-website-redirect-location"];
  if (redirect !== undefined && !/^(?:https?:\/\/|\/)/.test(redirect)) {
    throw new S3Error("InvalidRedirectLocation");
  }
  const encoding = headers["content-encoding"];
  if (encoding !== undefined) {
    // Framing of this request, not a property of the object.
    const kept = encoding.split(",").filter((one) => one.trim().toLowerCase() !== "aws-chunked");
    if (kept.length > 0) headers["content-encoding"] = kept.join(",").trim();
    else delete headers["content-encoding"];
  }
  const user = request.headersAfter(USER_PREFIX);
  const bytes = Object.entries(user).reduce(
    (sum, [name, value]) => sum + name.length + value.length,
    0,
  );
  if (bytes > MAX_USER_BYTES) {
    throw new S3Error("MetadataTooLarge", {
      details: { Size: String(bytes), MaxSizeAllowed: String(MAX_USER_BYTES) },
    });
  }
  const tagging = request.header("x-amz-tagging");
  return { headers, user, ...(tagging ? { tags: parseTagHeader(tagging) } : {}) };
}

/** Canned ACLs that mean what every object here is: the owner's alone. */
const privateAcls = new Set(["private", "bucket-owner-full-control", "bucket-owner-read"]);
const openAcls = new Set([
  "public-read",
  "public-read-write",
  "authenticated-read",
  "aws-exec-read",
  "log-delivery-write",
]);
const storageClasses = new Set(["STANDARD", "REDUCED_REDUNDANCY"]);

/** @throws S3Error for headers whose promise this store cannot keep */
export function refuseUnsupported(request: S3Request): void {
  const acl = request.header("x-amz-acl");
  if (acl !== undefined && !privateAcls.has(acl) && !openAcls.has(acl)) {
    throw new S3Error("InvalidArgument", {
      details: { ArgumentName: "x-amz-acl", ArgumentValue: acl },
    });
  }
  const grants = Object.keys(request.headersAfter("x-amz-grant-"));
  if ((acl !== undefined && openAcls.has(acl)) || grants.length > 0) {
    throw new S3Error("AccessControlListNotSupported");
  }
  const storageClass = request.header("x-amz-storage-class");
  if (storageClass !== undefined && !storageClasses.has(storageClass)) {
    throw new S3Error("InvalidStorageClass", { details: { StorageClassRequested: storageClass } });
  }
  const encryption = Object.keys(request.headersAfter("x-amz-server-side-encryption"));
  if (encryption.length > 0) {
    throw new S3Error("NotImplemented", {
      message: "Server-side encryption is not implemented by this store.",
      details: { Header: `x-amz-server-side-encryption${encryption[0]}` },
    });
  }
  const lock = Object.keys(request.headersAfter("x-amz-object-lock-"));
  if (lock.length > 0) {
    throw new S3Error("InvalidRequest", {
      message: "Bucket is missing ObjectLockConfiguration",
    });
  }
}

/** Headers of an answer about an object, without length and range. */
export function objectHeaders(object: StoredObject, request: S3Request): ResponseHeaders {
  const headers: ResponseHeaders = {
    ...object.attributes.headers,
    etag: `"${object.etag}"`,
    "last-modified": new Date(object.modified).toUTCString(),
    "accept-ranges": "bytes",
    "x-amz-storage-class": "STANDARD",
  };
  for (const [name, value] of Object.entries(object.attributes.user)) {
    headers[`${USER_PREFIX}${name}`] = value;
  }
  const tags = Object.keys(object.attributes.tags ?? {}).length;
  if (tags > 0) headers["x-amz-tagging-count"] = tags;
  for (const name of OVERRIDABLE) {
    const override = request.query.get(`response-${name}`);
    if (override !== undefined) headers[name] = override;
  }
  return headers;
}

/** Headers that carry a checksum; none when there is none. */
export function checksumHeaders(checksum: StoredChecksum | undefined): ResponseHeaders {
  if (!checksum) return {};
  return {
    [checksumHeader(checksum.algorithm)]: checksum.value,
    "x-amz-checksum-type": checksum.type,
  };
}

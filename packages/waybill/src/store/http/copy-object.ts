/** CopyObject: a new row over the same blobs; bytes are read only for a new kind of checksum. */
import {
  createChecksum,
  parseChecksumAlgorithm,
  UNSUPPORTED_ALGORITHM,
  type ChecksumAlgorithm,
  type StoredChecksum,
} from "../checksums/checksum.ts";
import type { StoreCore } from "../core.ts";
import type { ObjectAttributes, StoredObject } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import { checksumFields } from "./checksum-fields.ts";
import { checkWrite, writeCondition } from "./conditions.ts";
import { digestRange, findCopySource, readCopySource, type CopySource } from "./copy-source.ts";
import { readAttributes } from "./object-headers.ts";
import type { Call } from "./operation.ts";
import type { S3Request } from "./s3-request.ts";
import { isoTime, text, xmlDocument } from "./xml-writer.ts";

export async function copyObject({ request, response, core }: Call): Promise<void> {
  const { key } = request;
  const bucket = core.buckets.get(request.bucket);
  const from = readCopySource(request);
  const condition = writeCondition(request);
  const requested = readAttributes(request);
  const algorithm = wantedAlgorithm(request);
  refuseIdleCopy(request, from, bucket.name);
  const before = core.objects.find(bucket.id, key);
  checkWrite(condition, key, before);
  let copied: StoredObject | undefined;
  // The source may be replaced while its bytes are read for a checksum; then copy the new one.
  while (!copied) {
    const source = findCopySource(core, request, from);
    const checksum = await checksumOf(core, source, algorithm);
    copied = await core.db.transact((transaction) => {
      const current = findCopySource(core, request, from);
      if (current.content !== source.content || current.etag !== source.etag) return undefined;
      const { id } = core.buckets.get(bucket.name);
      checkWrite(condition, key, core.objects.find(id, key), before !== undefined);
      const content = core.contents.createFromRange(source.content, 0, source.bytes);
      const { partCount } = source.attributes;
      if (partCount !== undefined) core.contents.copyParts(source.content, content);
      const object: StoredObject = {
        key,
        content,
        etag: source.etag,
        bytes: source.bytes,
        modified: core.now(),
        attributes: {
          ...chooseAttributes(request, requested, source.attributes),
          ...(checksum ? { checksum } : {}),
          ...(partCount === undefined ? {} : { partCount }),
        },
      };
      core.objects.put(id, object, transaction);
      return object;
    });
  }
  const document = xmlDocument(
    "CopyObjectResult",
    text("LastModified", isoTime(copied.modified)),
    text("ETag", `"${copied.etag}"`),
    checksumFields(copied.attributes.checksum),
  );
  response.xml(200, document);
}

function wantedAlgorithm(request: S3Request): ChecksumAlgorithm | undefined {
  const name = request.header("x-amz-checksum-algorithm");
  if (name === undefined) return undefined;
  const algorithm = parseChecksumAlgorithm(name);
  if (algorithm) return algorithm;
  throw new S3Error("InvalidRequest", {
    message: UNSUPPORTED_ALGORITHM,
  });
}

async function checksumOf(
  core: StoreCore,
  source: StoredObject,
  algorithm: ChecksumAlgorithm | undefined,
): Promise<StoredChecksum | undefined> {
  const known = source.attributes.checksum;
  if (algorithm === undefined || algorithm === known?.algorithm) return known;
  const digest = await createChecksum(algorithm);
  await digestRange(core, source, { start: 0, bytes: source.bytes }, [digest]);
  return { algorithm, type: "FULL_OBJECT", value: digest.digest().toString("base64") };
}

/** S3 refuses a copy onto itself that would change nothing. */
function refuseIdleCopy(request: S3Request, from: CopySource, bucket: string): void {
  const replaces = replacesMetadata(request) || replacesTags(request);
  const changes =
    replaces ||
    request.header("x-amz-storage-class") !== undefined ||
    request.header("x-amz-website-redirect-location") !== undefined;
  if (changes || from.bucket !== bucket || from.key !== request.key) return;
  throw new S3Error("InvalidRequest", {
    message:
      "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
  });
}

function chooseAttributes(
  request: S3Request,
  requested: ObjectAttributes,
  source: ObjectAttributes,
): ObjectAttributes {
  const base = replacesMetadata(request) ? requested : withoutRedirect(source, requested);
  const tags = replacesTags(request) ? requested.tags : source.tags;
  return { headers: base.headers, user: base.user, ...(tags ? { tags } : {}) };
}

/** S3 copies everything but the website redirect, which is the request's in either case. */
function withoutRedirect(source: ObjectAttributes, requested: ObjectAttributes): ObjectAttributes {
  const name = "x-amz-website-redirect-location";
  const { [name]: _, ...headers } = source.headers;
  const redirect = requested.headers[name];
  return {
    ...source,
    headers: redirect === undefined ? headers : { ...headers, [name]: redirect },
  };
}

function replacesMetadata(request: S3Request): boolean {
  return saysReplace(request, "x-amz-metadata-directive");
}

function replacesTags(request: S3Request): boolean {
  return saysReplace(request, "x-amz-tagging-directive");
}

function saysReplace(request: S3Request, name: string): boolean {
  const directive = request.header(name) ?? "COPY";
  if (directive === "REPLACE") return true;
  if (directive === "COPY") return false;
  throw new S3Error("InvalidArgument", {
    message: `Unknown ${name.slice("x-amz-".length).replace("-", " ")}.`,
    details: { ArgumentName: name, ArgumentValue: directive },
  });
}

/** CompleteMultipartUpload: the parts' segments become the object's; no byte moves. */
import { checksumHeader, isChecksumValue, parseChecksumAlgorithm } from "../checksums/checksum.ts";
import type { StoreCore } from "../core.ts";
import type { Bucket } from "../metadata/buckets.ts";
import type { Transaction } from "../metadata/database.ts";
import type { StoredObject } from "../metadata/objects.ts";
import type { Part, Upload } from "../metadata/uploads.ts";
import { S3Error } from "../s3-error.ts";
import { assemble, type Assembly } from "../uploads/assemble.ts";
import { checksumFields } from "./checksum-fields.ts";
import { checkWrite, writeCondition } from "./conditions.ts";
import { readChecksumType } from "./create-upload.ts";
import type { Call } from "./operation.ts";
import { readPartList } from "./part-list.ts";
import type { S3Request } from "./s3-request.ts";
import { parseXml } from "./xml-reader.ts";
import { text, xmlDocument } from "./xml-writer.ts";

export async function completeUpload(call: Call): Promise<void> {
  const { request, response, core } = call;
  const bucket = core.buckets.get(request.bucket);
  const object = await complete(core, bucket, request);
  response.xml(
    200,
    xmlDocument(
      "CompleteMultipartUploadResult",
      text("Location", `http://${request.header("host") ?? ""}${encodeURI(request.path)}`),
      text("Bucket", bucket.name),
      text("Key", request.key),
      text("ETag", `"${object.etag}"`),
      checksumFields(object.attributes.checksum),
    ),
  );
}

async function complete(
  core: StoreCore,
  bucket: Bucket,
  request: S3Request,
): Promise<StoredObject> {
  const { key } = request;
  const uploadId = request.query.get("uploadId") ?? "";
  const condition = writeCondition(request);
  readChecksumType(request);
  refuseSeveralChecksums(request);
  const document = parseXml(await request.readText(), "CompleteMultipartUpload");
  const before = core.objects.find(bucket.id, key);
  // Parts may be replaced while the checksum is worked out; then begin again with the new ones.
  for (;;) {
    const done = findCompleted(core, bucket, key, uploadId);
    if (done) return done;
    const upload = core.uploads.get(bucket.id, key, uploadId);
    const parts = core.uploads.parts(uploadId);
    const assembly = await assemble(
      readPartList(document, upload.attributes.checksum),
      new Map(parts.map((part) => [part.number, part])),
      upload.attributes.checksum,
      core.minPartBytes,
    );
    checkClaims(request, assembly);
    const object = await core.db.transact((transaction) => {
      const existing = core.objects.find(bucket.id, key);
      const current = core.uploads.parts(uploadId);
      if (!sameParts(parts, current)) return undefined;
      checkWrite(condition, key, existing, before !== undefined);
      return commit(core, bucket, upload, assembly, transaction);
    });
    if (object) return object;
  }
}

/** The answer to an earlier completion may have been lost: repeating it must not fail. */
function findCompleted(
  core: StoreCore,
  bucket: Bucket,
  key: string,
  uploadId: string,
): StoredObject | undefined {
  const etag = core.uploads.findCompletion(bucket.id, key, uploadId);
  const existing = core.objects.find(bucket.id, key);
  return etag !== undefined && existing?.etag === etag ? existing : undefined;
}

function sameParts(seen: readonly Part[], current: readonly Part[]): boolean {
  return (
    seen.length === current.length &&
    seen.every((part, index) => {
      const now = current[index];
      return now?.number === part.number && now.content === part.content && now.etag === part.etag;
    })
  );
}

function commit(
  core: StoreCore,
  bucket: Bucket,
  upload: Upload,
  assembly: Assembly,
  transaction: Transaction,
): StoredObject {
  const { checksum: _, ...attributes } = upload.attributes;
  const used = new Set(assembly.parts.map((part) => part.content));
  for (const part of core.uploads.parts(upload.id)) {
    if (!used.has(part.content)) core.contents.release(part.content, transaction);
  }
  const content = core.contents.join(assembly.parts);
  core.contents.recordParts(content, assembly.layout);
  core.uploads.forget(bucket.id, upload);
  core.uploads.recordCompletion(bucket.id, upload, assembly.etag, core.now());
  const object: StoredObject = {
    key: upload.key,
    content,
    etag: assembly.etag,
    bytes: assembly.bytes,
    modified: core.now(),
    attributes: {
      ...attributes,
      partCount: assembly.parts.length,
      ...(assembly.checksum ? { checksum: assembly.checksum } : {}),
    },
  };
  core.objects.put(bucket.id, object, transaction);
  return object;
}

/** What the client says of the whole object must be what the parts add up to. */
function checkClaims(request: S3Request, { bytes, checksum }: Assembly): void {
  checkSize(request, bytes);
  const type = readChecksumType(request);
  if (!checksum) return;
  if (type !== undefined && type !== checksum.type) {
    throw new S3Error("InvalidRequest", {
      message: `The upload was created using the ${checksum.type} checksum mode. The complete request must use the same checksum mode.`,
    });
  }
  const name = checksumHeader(checksum.algorithm);
  const claimed = request.header(name);
  if (claimed === undefined) return;
  const value = claimed.replace(/-\d+$/, "");
  if (!isChecksumValue(checksum.algorithm, value)) {
    throw new S3Error("InvalidRequest", { message: `Value for ${name} header is invalid.` });
  }
  if (value === checksum.value.replace(/-\d+$/, "")) return;
  throw new S3Error("BadDigest", {
    message: `The ${checksum.algorithm} you specified did not match the calculated checksum.`,
  });
}

function refuseSeveralChecksums(request: S3Request): void {
  const names = Object.keys(request.headersAfter("x-amz-checksum-"));
  if (names.filter(isValueHeader).length <= 1) return;
  throw new S3Error("InvalidRequest", {
    message: "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
  });
}

function isValueHeader(name: string): boolean {
  return parseChecksumAlgorithm(name) !== undefined;
}

function checkSize(request: S3Request, bytes: number): void {
  const size = request.header("x-amz-mp-object-size");
  if (size === undefined || size === String(bytes)) return;
  const problem = !/^-?\d+$/.test(size)
    ? `Value for x-amz-mp-object-size header is invalid: '${size}'`
    : Number(size) < 0
      ? `Value for x-amz-mp-object-size header is less than zero: '${size}'`
      : `The provided 'x-amz-mp-object-size' header value ${size} does not match what was computed: ${bytes}`;
  throw new S3Error("InvalidRequest", { message: problem });
}

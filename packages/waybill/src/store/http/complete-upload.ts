/** CompleteMultipartUpload: the parts' segments become the object's; no byte moves. */
import {
  checksumElement,
  checksumHeader,
  isChecksumValue,
  type ChecksumAlgorithm,
} from "../checksums/checksum.ts";
import type { StoreCore } from "../core.ts";
import type { Bucket } from "../metadata/buckets.ts";
import type { Transaction } from "../metadata/database.ts";
import type { StoredObject } from "../metadata/objects.ts";
import type { Upload } from "../metadata/uploads.ts";
import { S3Error } from "../s3-error.ts";
import { assemble, type Assembly, type ListedPart } from "../uploads/assemble.ts";
import { checksumFields } from "./checksum-fields.ts";
import { checkWrite, unquoteEtag, writeCondition, type WriteCondition } from "./conditions.ts";
import type { Call } from "./operation.ts";
import type { S3Request } from "./s3-request.ts";
import { childrenNamed, childText, malformed, parseXml, type XmlElement } from "./xml-reader.ts";
import { text, xmlDocument } from "./xml-writer.ts";

const MAX_PARTS = 10_000;

export async function completeUpload({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const condition = writeCondition(request);
  const before = core.objects.find(bucket.id, request.key) !== undefined;
  const document = parseXml(await request.readText(), "CompleteMultipartUpload");
  const object = await core.db.transact((transaction) =>
    complete(core, bucket, request, { condition, before, document }, transaction),
  );
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

interface Intent {
  readonly condition: WriteCondition;
  readonly before: boolean;
  readonly document: XmlElement;
}

function complete(
  core: StoreCore,
  bucket: Bucket,
  request: S3Request,
  { condition, before, document }: Intent,
  transaction: Transaction,
): StoredObject {
  const { key } = request;
  const uploadId = request.query.get("uploadId") ?? "";
  const existing = core.objects.find(bucket.id, key);
  // The answer to an earlier completion may have been lost: repeating it must not fail.
  const completed = core.uploads.findCompletion(bucket.id, key, uploadId);
  if (completed !== undefined && existing?.etag === completed) return existing;
  const upload = core.uploads.get(bucket.id, key, uploadId);
  const { checksum } = upload.attributes;
  const listed = readParts(document, checksum?.algorithm);
  checkWrite(condition, key, existing, before);
  const held = new Map(core.uploads.parts(uploadId).map((part) => [part.number, part]));
  const assembly = assemble(listed, held, checksum, core.minPartBytes);
  checkClaims(request, assembly);
  return commit(core, bucket, upload, assembly, transaction);
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

function readParts(document: XmlElement, algorithm: ChecksumAlgorithm | undefined): ListedPart[] {
  const listed = childrenNamed(document, "Part").map((part): ListedPart => {
    const number = childText(part, "PartNumber")?.trim() ?? "";
    const etag = childText(part, "ETag");
    if (!/^\d{1,5}$/.test(number) || etag === undefined) throw malformed();
    const checksum = algorithm && childText(part, checksumElement(algorithm));
    return { number: Number(number), etag: unquoteEtag(etag), checksum };
  });
  if (listed.length === 0 || listed.length > MAX_PARTS) throw malformed();
  return listed;
}

/** What the client says of the whole object must be what the parts add up to. */
function checkClaims(request: S3Request, { bytes, checksum }: Assembly): void {
  const size = request.header("x-amz-mp-object-size");
  if (size !== undefined && Number(size) !== bytes) {
    throw new S3Error("InvalidRequest", {
      message: `The provided 'x-amz-mp-object-size' header value ${size} does not match what was computed: ${bytes}`,
    });
  }
  if (!checksum) return;
  const type = request.header("x-amz-checksum-type")?.toUpperCase();
  if (type !== undefined && type !== checksum.type) {
    throw new S3Error("InvalidRequest", {
      message: `The upload was created using the ${checksum.type} checksum mode. The complete request must use the same checksum mode.`,
    });
  }
  const claimed = request.header(checksumHeader(checksum.algorithm));
  if (claimed === undefined) return;
  const value = claimed.replace(/-\d+$/, "");
  if (!isChecksumValue(checksum.algorithm, value)) {
    throw new S3Error("InvalidRequest", {
      message: `Value for ${checksumHeader(checksum.algorithm)} header is invalid.`,
    });
  }
  if (value === checksum.value.replace(/-\d+$/, "")) return;
  throw new S3Error("BadDigest", {
    message: `The ${checksum.algorithm} you specified did not match the calculated checksum.`,
  });
}

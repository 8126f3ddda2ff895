/**
 * Which operation a request means: by method, by what its URL names (service, bucket, object) and
 * by the sub-resource in its query. The first row that fits wins.
 */
import { S3Error } from "../s3-error.ts";
import { abortUpload } from "./abort-upload.ts";
import {
  fixedDocument,
  getBucketAcl,
  getObjectAcl,
  nothingToDelete,
  notConfigured,
  notImplemented,
  putAcl,
  putVersioning,
} from "./bucket-settings.ts";
import { createBucket, deleteBucket, getBucketLocation, headBucket } from "./bucket.ts";
import { completeUpload } from "./complete-upload.ts";
import { copyObject } from "./copy-object.ts";
import { createUpload } from "./create-upload.ts";
import { deleteObject, deleteObjects } from "./delete-object.ts";
import { getObject } from "./get-object.ts";
import { deleteLifecycle, getLifecycle, putLifecycle } from "./lifecycle.ts";
import { listBuckets } from "./list-buckets.ts";
import { listObjects, listObjectsV2, listObjectVersions } from "./list-objects.ts";
import { listParts } from "./list-parts.ts";
import { listUploads } from "./list-uploads.ts";
import { getObjectAttributes } from "./object-attributes.ts";
import type { Operation } from "./operation.ts";
import { putObject } from "./put-object.ts";
import type { S3Request } from "./s3-request.ts";
import {
  deleteBucketTagging,
  deleteObjectTagging,
  getBucketTagging,
  getObjectTagging,
  putBucketTagging,
  putObjectTagging,
} from "./tagging.ts";
import { uploadPartCopy } from "./upload-part-copy.ts";
import { uploadPart } from "./upload-part.ts";
import { text, xmlDocument } from "./xml-writer.ts";

/** A sub-resource (`""`: none, `"a=b"`: a with that value) and what serves it. */
type Row = readonly [subresource: string, operation: Operation];
type Table = Readonly<Record<string, readonly Row[]>>;

const bucketTable: Table = {
  GET: [
    ["location", getBucketLocation],
    ["uploads", listUploads],
    ["versions", listObjectVersions],
    ["lifecycle", getLifecycle],
    ["tagging", getBucketTagging],
    ["versioning", fixedDocument(xmlDocument("VersioningConfiguration"))],
    ["acl", getBucketAcl],
    ["policy", notConfigured("NoSuchBucketPolicy")],
    ["policyStatus", notConfigured("NoSuchBucketPolicy")],
    ["cors", notConfigured("NoSuchCORSConfiguration")],
    ["website", notConfigured("NoSuchWebsiteConfiguration")],
    ["encryption", notConfigured("ServerSideEncryptionConfigurationNotFoundError")],
    ["object-lock", notConfigured("ObjectLockConfigurationNotFoundError")],
    ["replication", notConfigured("ReplicationConfigurationNotFoundError")],
    ["publicAccessBlock", notConfigured("NoSuchPublicAccessBlockConfiguration")],
    ["logging", fixedDocument(xmlDocument("BucketLoggingStatus"))],
    ["notification", fixedDocument(xmlDocument("NotificationConfiguration"))],
    ["accelerate", fixedDocument(xmlDocument("AccelerateConfiguration"))],
    [
      "requestPayment",
      fixedDocument(xmlDocument("RequestPaymentConfiguration", text("Payer", "BucketOwner"))),
    ],
    [
      "ownershipControls",
      fixedDocument(
        xmlDocument(
          "OwnershipControls",
          `<Rule>${text("ObjectOwnership", "BucketOwnerEnforced")}</Rule>`,
        ),
      ),
    ],
    ["list-type=2", listObjectsV2],
    ["", listObjects],
  ],
  HEAD: [["", headBucket]],
  PUT: [
    ["lifecycle", putLifecycle],
    ["tagging", putBucketTagging],
    ["acl", putAcl],
    ["versioning", putVersioning],
    ["", createBucket],
  ],
  DELETE: [
    ["lifecycle", deleteLifecycle],
    ["tagging", deleteBucketTagging],
    ["policy", nothingToDelete],
    ["cors", nothingToDelete],
    ["website", nothingToDelete],
    ["encryption", nothingToDelete],
    ["replication", nothingToDelete],
    ["publicAccessBlock", nothingToDelete],
    ["ownershipControls", nothingToDelete],
    ["", deleteBucket],
  ],
  POST: [["delete", deleteObjects]],
};

const objectTable: Table = {
  GET: [
    ["uploadId", listParts],
    ["attributes", getObjectAttributes],
    ["tagging", getObjectTagging],
    ["acl", getObjectAcl],
    ["", getObject],
  ],
  HEAD: [["", getObject]],
  PUT: [
    ["uploadId", (call) => (isCopy(call.request) ? uploadPartCopy(call) : uploadPart(call))],
    ["tagging", putObjectTagging],
    ["acl", putAcl],
    ["", (call) => (isCopy(call.request) ? copyObject(call) : putObject(call))],
  ],
  POST: [
    ["uploads", createUpload],
    ["uploadId", completeUpload],
  ],
  DELETE: [
    ["uploadId", abortUpload],
    ["tagging", deleteObjectTagging],
    ["", deleteObject],
  ],
};

/** Sub-resources this store does not have; without this list they would reach the plain row. */
const foreign = [
  "accelerate",
  "analytics",
  "cors",
  "encryption",
  "intelligent-tiering",
  "inventory",
  "legal-hold",
  "logging",
  "metadataTable",
  "metrics",
  "notification",
  "object-lock",
  "ownershipControls",
  "policy",
  "publicAccessBlock",
  "replication",
  "requestPayment",
  "restore",
  "retention",
  "select",
  "torrent",
  "website",
] as const;

/** @throws S3Error `MethodNotAllowed`, `NotImplemented` when nothing serves it */
export function selectOperation(request: S3Request): Operation {
  if (request.bucket === "") {
    if (request.method === "GET") return listBuckets;
    throw new S3Error("MethodNotAllowed", { details: { Method: request.method } });
  }
  const table = request.key === "" ? bucketTable : objectTable;
  const rows = table[request.method] ?? [];
  for (const [subresource, operation] of rows) {
    if (subresource === "") break;
    if (names(request, subresource)) return operation;
  }
  const unknown = foreign.find((name) => request.query.has(name));
  if (unknown) return notImplemented(`The sub-resource ?${unknown}`);
  const plain = rows.at(-1);
  if (plain?.[0] === "") return plain[1];
  throw new S3Error("MethodNotAllowed", { details: { Method: request.method } });
}

function names(request: S3Request, subresource: string): boolean {
  const [name = "", value] = subresource.split("=");
  const given = request.query.get(name);
  return given !== undefined && (value === undefined || given === value);
}

function isCopy(request: S3Request): boolean {
  return request.header("x-amz-copy-source") !== undefined;
}

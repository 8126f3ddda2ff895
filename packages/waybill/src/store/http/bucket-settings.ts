/**
 * The sub-resources a private, unversioned bucket has nothing to say about. Reads are answered as
 * S3 does for such a bucket, so that tools which look before they act go on; writes succeed only
 * when they ask for what is the case anyway.
 */
import { S3Error, type S3ErrorCode } from "../s3-error.ts";
import { ownerElement } from "./list-common.ts";
import { refuseUnsupported } from "./object-headers.ts";
import type { Operation } from "./operation.ts";
import { childText, parseXml } from "./xml-reader.ts";
import { element, text, xmlDocument } from "./xml-writer.ts";

/** Answers a fixed document once the bucket is known to exist. */
export function fixedDocument(document: string): Operation {
  return ({ request, response, core }) => {
    core.buckets.get(request.bucket);
    response.xml(200, document);
  };
}

/** Answers that there is no such configuration. */
export function notConfigured(code: S3ErrorCode): Operation {
  return ({ request, core }) => {
    core.buckets.get(request.bucket);
    throw new S3Error(code, { details: { BucketName: request.bucket } });
  };
}

/** Accepts a deletion of what is not there. */
export const nothingToDelete: Operation = ({ request, response, core }) => {
  core.buckets.get(request.bucket);
  response.empty(204);
};

/** Refuses, naming the sub-resource. */
export function notImplemented(what: string): Operation {
  return () => {
    throw new S3Error("NotImplemented", { message: `${what} is not implemented by this store.` });
  };
}

/** Everything belongs to the one account, and only to it. */
function accessControlDocument(ownerId: string): string {
  const type = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"';
  const grantee = `<Grantee ${type}>${text("ID", ownerId)}${text("DisplayName", ownerId)}</Grantee>`;
  const grant = element("Grant", grantee, text("Permission", "FULL_CONTROL"));
  return xmlDocument(
    "AccessControlPolicy",
    ownerElement(ownerId),
    element("AccessControlList", grant),
  );
}

export const getBucketAcl: Operation = ({ request, response, core }) => {
  core.buckets.get(request.bucket);
  response.xml(200, accessControlDocument(core.ownerId));
};

export const getObjectAcl: Operation = ({ request, response, core }) => {
  core.objects.get(core.buckets.get(request.bucket).id, request.key);
  response.xml(200, accessControlDocument(core.ownerId));
};

/** PutBucketAcl, PutObjectAcl: `private` is what it is already; nothing else can be had. */
export const putAcl: Operation = ({ request, response, core }) => {
  const bucket = core.buckets.get(request.bucket);
  if (request.key !== "") core.objects.get(bucket.id, request.key);
  refuseUnsupported(request);
  if (request.header("x-amz-acl") === undefined) {
    throw new S3Error("AccessControlListNotSupported");
  }
  response.empty(200);
};

/** PutBucketVersioning: `Suspended` is how it is. */
export const putVersioning: Operation = async ({ request, response, core }) => {
  core.buckets.get(request.bucket);
  const configuration = parseXml(await request.readText(), "VersioningConfiguration");
  if (childText(configuration, "Status")?.trim() !== "Suspended") {
    throw new S3Error("NotImplemented", { message: "This store keeps no versions." });
  }
  response.empty(200);
};

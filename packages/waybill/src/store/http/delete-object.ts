/** DeleteObject and DeleteObjects */
import type { StoreCore } from "../core.ts";
import type { Bucket } from "../metadata/buckets.ts";
import type { Transaction } from "../metadata/database.ts";
import type { StoredObject } from "../metadata/objects.ts";
import { S3Error, toS3Error } from "../s3-error.ts";
import { checkWrite } from "./conditions.ts";
import { planIntegrity } from "./integrity.ts";
import type { Call } from "./operation.ts";
import { checkVersion } from "./version-id.ts";
import { childrenNamed, childText, malformed, parseXml } from "./xml-reader.ts";
import { element, text, xmlDocument } from "./xml-writer.ts";

/** S3's bound for one request. */
const MAX_KEYS = 1000;
const MAX_KEY_BYTES = 1024;

interface Target {
  readonly key: string;
  readonly versionId: string | undefined;
  readonly etag: string | undefined;
  readonly bytes: string | undefined;
  /** An HTTP date. */
  readonly modified: string | undefined;
}

export async function deleteObject({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const target = {
    key: request.key,
    versionId: request.query.get("versionId"),
    etag: request.header("if-match"),
    bytes: request.header("x-amz-if-match-size"),
    modified: request.header("x-amz-if-match-last-modified-time"),
  };
  await core.db.transact((transaction) => deleteOne(core, bucket, target, transaction), {
    freesSpace: true,
  });
  response.empty(204);
}

export async function deleteObjects({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const integrity = await planIntegrity(request, { etag: "always-md5" });
  const body = await request.readText((chunk) => {
    for (const digest of integrity.digests) digest.update(chunk);
  });
  integrity.verify();
  const document = parseXml(body, "Delete");
  const quiet = childText(document, "Quiet")?.trim().toLowerCase() === "true";
  const targets = childrenNamed(document, "Object").map((object): Target => {
    const key = childText(object, "Key");
    if (key === undefined || key === "") throw malformed();
    return {
      key,
      versionId: childText(object, "VersionId"),
      etag: childText(object, "ETag"),
      bytes: childText(object, "Size"),
      modified: childText(object, "LastModifiedTime"),
    };
  });
  if (targets.length === 0 || targets.length > MAX_KEYS) throw malformed();
  const results = await Promise.all(
    targets.map(async (target) => {
      try {
        if (Buffer.byteLength(target.key) > MAX_KEY_BYTES) throw new S3Error("KeyTooLongError");
        await core.db.transact((transaction) => deleteOne(core, bucket, target, transaction), {
          freesSpace: true,
        });
        return quiet ? "" : element("Deleted", text("Key", target.key), version(target));
      } catch (error) {
        const { code, message } = toS3Error(error);
        return element(
          "Error",
          text("Key", target.key),
          version(target),
          text("Code", code),
          text("Message", message),
        );
      }
    }),
  );
  response.xml(200, xmlDocument("DeleteResult", ...results));
}

function version(target: Target): string {
  return target.versionId ? text("VersionId", target.versionId) : "";
}

function deleteOne(
  core: StoreCore,
  bucket: Bucket,
  target: Target,
  transaction: Transaction,
): void {
  const { key, versionId, etag } = target;
  checkVersion(versionId === "" ? undefined : versionId);
  const existing = core.objects.find(bucket.id, key);
  if (etag !== undefined) checkWrite({ ifMatch: etag, createOnly: false }, key, existing);
  if (existing) checkLook(target, existing);
  core.objects.delete(bucket.id, key, transaction);
}

/** Size and time the client believes the object to have. */
function checkLook({ bytes, modified }: Target, existing: StoredObject): void {
  if (bytes !== undefined && Number(bytes) !== existing.bytes) {
    throw new S3Error("PreconditionFailed", { details: { Condition: "x-amz-if-match-size" } });
  }
  if (modified === undefined) return;
  if (Math.floor(Date.parse(modified) / 1000) === Math.floor(existing.modified / 1000)) return;
  throw new S3Error("PreconditionFailed", {
    details: { Condition: "x-amz-if-match-last-modified-time" },
  });
}

/** Get, Put and Delete of object and bucket tagging */
import { S3Error } from "../s3-error.ts";
import type { StoreCore } from "../core.ts";
import type { StoredObject } from "../metadata/objects.ts";
import type { Call } from "./operation.ts";
import {
  MAX_BUCKET_TAGS,
  MAX_OBJECT_TAGS,
  parseTagDocument,
  tagDocument,
  type Tags,
} from "./tags.ts";
import { checkVersion } from "./version-id.ts";

export function getObjectTagging({ request, response, core }: Call): void {
  checkVersion(request.query.get("versionId"));
  const object = core.objects.get(core.buckets.get(request.bucket).id, request.key);
  response.xml(200, tagDocument(object.attributes.tags ?? {}));
}

export async function putObjectTagging({ request, response, core }: Call): Promise<void> {
  checkVersion(request.query.get("versionId"));
  const tags = parseTagDocument(await request.readText(), MAX_OBJECT_TAGS);
  await setTags(core, request.bucket, request.key, tags);
  response.empty(200);
}

export async function deleteObjectTagging({ request, response, core }: Call): Promise<void> {
  checkVersion(request.query.get("versionId"));
  await setTags(core, request.bucket, request.key, {});
  response.empty(204);
}

async function setTags(core: StoreCore, name: string, key: string, tags: Tags): Promise<void> {
  await core.db.transact((transaction) => {
    const bucket = core.buckets.get(name);
    const object = core.objects.get(bucket.id, key);
    const tagged: StoredObject = { ...object, attributes: { ...object.attributes, tags } };
    core.objects.put(bucket.id, tagged, transaction);
  });
}

export function getBucketTagging({ request, response, core }: Call): void {
  const tags = core.buckets.getSetting(core.buckets.get(request.bucket), "tagging");
  if (tags === undefined) throw new S3Error("NoSuchTagSet");
  response.xml(200, tagDocument(JSON.parse(tags) as Tags));
}

export async function putBucketTagging({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const tags = parseTagDocument(await request.readText(), MAX_BUCKET_TAGS);
  await core.db.transact(() => core.buckets.putSetting(bucket, "tagging", JSON.stringify(tags)));
  response.empty(204);
}

export async function deleteBucketTagging({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  await core.db.transact(() => core.buckets.deleteSetting(bucket, "tagging"));
  response.empty(204);
}

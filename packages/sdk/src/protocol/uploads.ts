// Upload sessions: what the hub knows of a push, and the URLs it signs for it (docs/protocol/hub-api.md, "Uploads").
import * as v from "valibot";
import {
  ArtifactId,
  ArtifactName,
  ByteCount,
  Crc32Base64,
  Digest,
  JobId,
  ModelId,
  ModelType,
  Timestamp,
  UploadId,
} from "./ids.ts";
import { Layout } from "./artifact.ts";
import { LIMITS } from "./version.ts";

/** Key of an object below the artifact's prefix. */
export const ObjectKey = v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.pathBytes));

export const UploadPurpose = v.variant("kind", [
  v.object({
    kind: v.literal("dataset"),
    /** Kept until removed rather than for the upload's TTL. */ keep: v.boolean(),
  }),
  v.object({
    kind: v.literal("model"),
    model: ModelId,
    modelType: ModelType,
    job: v.optional(JobId),
    attempt: v.optional(v.number()),
  }),
]);
export type UploadPurpose = v.InferOutput<typeof UploadPurpose>;

export const UploadPlan = v.object({
  /** BLAKE3 of what identifies the push before its content is known (paths, sizes, times, purpose). */
  fingerprint: Digest,
  name: ArtifactName,
  purpose: UploadPurpose,
  layout: Layout,
  bytes: ByteCount,
  partBytes: v.pipe(
    v.number(),
    v.safeInteger(),
    v.minValue(LIMITS.s3MinPartBytes),
    v.maxValue(LIMITS.s3MaxPartBytes),
  ),
  /** Objects besides `artifact.json`; those larger than `partBytes` are multipart uploads. */
  objects: v.pipe(
    v.array(v.object({ key: ObjectKey, size: ByteCount })),
    v.maxLength(LIMITS.plainObjects),
  ),
});
export type UploadPlan = v.InferOutput<typeof UploadPlan>;

/** The store's own account of one object of an open upload. */
export const ObjectProgress = v.object({
  key: ObjectKey,
  size: ByteCount,
  /** The whole object is there. */
  done: v.boolean(),
  /** CRC-32 of a whole object that was put at once. */
  crc32: v.optional(Crc32Base64),
  /** Confirmed parts of a multipart object. */
  parts: v.array(v.object({ part: v.number(), size: ByteCount, crc32: Crc32Base64 })),
});
export type ObjectProgress = v.InferOutput<typeof ObjectProgress>;

export const UploadStatus = v.object({
  upload: UploadId,
  state: v.picklist(["open", "completed"]),
  name: ArtifactName,
  /** Set once completed. */
  artifact: v.optional(ArtifactId),
  bytes: ByteCount,
  partBytes: ByteCount,
  createdAt: Timestamp,
  expiresAt: v.optional(Timestamp),
  objects: v.array(ObjectProgress),
});
export type UploadStatus = v.InferOutput<typeof UploadStatus>;

/** One body to be signed: `part` counts from 1 in a multipart object and is 0 for an object put at once. */
export const PartToSign = v.object({
  key: ObjectKey,
  part: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(LIMITS.s3Parts)),
  size: ByteCount,
  crc32: Crc32Base64,
});
export type PartToSign = v.InferOutput<typeof PartToSign>;

/** A PUT with exactly these headers; the store refuses any other body. */
export const SignedPart = v.object({
  key: ObjectKey,
  part: v.number(),
  url: v.string(),
  headers: v.record(v.string(), v.string()),
});
export type SignedPart = v.InferOutput<typeof SignedPart>;

export const SignedRead = v.object({ key: ObjectKey, url: v.string() });
export type SignedRead = v.InferOutput<typeof SignedRead>;

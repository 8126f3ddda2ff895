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
  type RoomId,
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
  /** A checkpoint of a running job: kept until a newer one is recorded or the job is over (events.md §8). */
  v.object({
    kind: v.literal("checkpoint"),
    job: JobId,
    attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  }),
]);
export type UploadPurpose = v.InferOutput<typeof UploadPurpose>;

/**
 * Where a job's worker puts a model by itself when no hub can be reached: a folder of the attempt's own in the rooms bucket,
 * beside the model's (docs/protocol/hub-api.md §3).
 */
export function directModelPrefix(of: {
  readonly room: RoomId;
  readonly model: ModelId;
  readonly modelType: ModelType;
  readonly attempt: number;
}): string {
  return `${of.room}/models/${of.modelType}_${of.model}.${of.attempt}/`;
}

/** How an object's stored bytes differ from the file's: `zstd` is one frame per shard, end to end. */
export const ObjectEncoding = v.picklist(["zstd"]);
export type ObjectEncoding = v.InferOutput<typeof ObjectEncoding>;

/** An object of a push besides `artifact.json`. */
export const PlannedObject = v.object({
  key: ObjectKey,
  /** Bytes of the file (or pack) itself, whatever is stored. */
  size: ByteCount,
  encoding: v.optional(ObjectEncoding),
});
export type PlannedObject = v.InferOutput<typeof PlannedObject>;

const WholeBytes = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

/** What both ends must know to cut the same bytes into the same shards and parts. */
const planEssentials = {
  layout: Layout,
  shardBytes: v.pipe(v.number(), v.safeInteger(), v.minValue(1024)),
  /** Part n of an object begins at its byte `(n − 1) · unitBytes`. */
  unitBytes: v.pipe(WholeBytes, v.multipleOf(LIMITS.unitBytes), v.maxValue(LIMITS.s3MaxPartBytes)),
};

export const UploadPlan = v.object({
  /** BLAKE3 of what identifies the push before all of it was read (paths, sizes, samples of the content, purpose). */
  fingerprint: Digest,
  name: ArtifactName,
  purpose: UploadPurpose,
  ...planEssentials,
  /** Sum of the objects' sizes. */
  bytes: ByteCount,
  /** Those larger than `LIMITS.atOnceBytes` are multipart uploads. */
  objects: v.pipe(v.array(PlannedObject), v.maxLength(LIMITS.plainObjects)),
});
export type UploadPlan = v.InferOutput<typeof UploadPlan>;

/** 0: an object put at once. */
export const PartNumber = v.pipe(
  v.number(),
  v.safeInteger(),
  v.minValue(0),
  v.maxValue(LIMITS.s3Parts),
);

/** The store's own account of one object of an open upload. */
export const ObjectProgress = v.object({
  ...PlannedObject.entries,
  /** The whole object is there. */
  done: v.boolean(),
  /** CRC-32 of what is stored of a whole object; absent where the store has none. */
  crc32: v.optional(Crc32Base64),
  /** Bytes that are stored of an object that is not in parts: not its `size` when it is encoded. */
  storedBytes: v.optional(ByteCount),
  /** Names the stored body of an object that is not in parts, for `PartToSign.replaces`. */
  etag: v.optional(v.string()),
  /** Confirmed parts of a multipart object, ascending; they may overlap when runs cut them differently. */
  parts: v.array(v.object({ part: PartNumber, size: ByteCount, crc32: Crc32Base64 })),
});
export type ObjectProgress = v.InferOutput<typeof ObjectProgress>;

/** `any`: parts of any size that is a multiple of the unit. `equal`: every part but an object's last is one unit (AWS, R2). */
export const PartRule = v.picklist(["any", "equal"]);
export type PartRule = v.InferOutput<typeof PartRule>;

export const UploadStatus = v.object({
  upload: UploadId,
  state: v.picklist(["open", "completed"]),
  name: ArtifactName,
  /** Set once completed. */
  artifact: v.optional(ArtifactId),
  bytes: ByteCount,
  /** The session's own plan, which whoever goes on with it adopts; its objects are `objects` without `artifact.json`. */
  ...planEssentials,
  partRule: PartRule,
  /** Given with `equal`: the size of every part but an object's last. It is `unitBytes` then. */
  equalPartBytes: v.optional(WholeBytes),
  createdAt: Timestamp,
  expiresAt: v.optional(Timestamp),
  objects: v.array(ObjectProgress),
});
export type UploadStatus = v.InferOutput<typeof UploadStatus>;

/** An open upload in a list. */
export const UploadSummary = v.object({
  ...v.omit(UploadStatus, ["objects"]).entries,
  kind: v.picklist(["dataset", "model", "checkpoint"]),
  /** `owner`, or the thumbprint of the key that began it. */
  createdBy: v.string(),
  /** Bytes in the store; absent where many requests would be needed to know. */
  storedBytes: v.optional(ByteCount),
});
export type UploadSummary = v.InferOutput<typeof UploadSummary>;

/** One body to be signed: `part` is 0 for an object put at once, and says where it begins otherwise (`partOffset`). */
export const PartToSign = v.object({
  key: ObjectKey,
  part: PartNumber,
  /** Bytes of the body. */
  size: ByteCount,
  crc32: Crc32Base64,
  /** Bytes of the file that a part of an encoded object stands for. Only segments need it. */
  plainBytes: v.optional(WholeBytes),
  /** Part 0 only: `etag` of the stored body that this one replaces; without it nothing may be there. */
  replaces: v.optional(v.pipe(v.string(), v.regex(/^(?:W\/)?"[\x21\x23-\x7e]{1,200}"$/))),
});
export type PartToSign = v.InferOutput<typeof PartToSign>;

/** One part (or, as part 0, one whole object) that the store copies from an artifact of the room. */
export const PartToCopy = v.object({
  key: ObjectKey,
  part: PartNumber,
  /** Stored bytes to copy. */
  size: WholeBytes,
  /** What the bytes must have; a copy that has another is refused. */
  crc32: Crc32Base64,
  from: v.object({
    artifact: ArtifactId,
    /** Object of that artifact. */
    key: ObjectKey,
    /** Offset in the stored object. */
    start: ByteCount,
  }),
});
export type PartToCopy = v.InferOutput<typeof PartToCopy>;

export const CopiedPart = v.object({
  key: ObjectKey,
  part: PartNumber,
  /** Whether the store now holds it with the CRC-32 that was asked for. */
  copied: v.boolean(),
  /** Why not. */
  reason: v.optional(v.string()),
});
export type CopiedPart = v.InferOutput<typeof CopiedPart>;

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

/** Whether an object of this size is put in one body, as part 0. */
export function isPutAtOnce(size: number): boolean {
  return size <= LIMITS.atOnceBytes;
}

/** Where part `part` (from 1) of a multipart object begins, in bytes of the file. */
export function partOffset(part: number, unitBytes: number): number {
  return (part - 1) * unitBytes;
}

/** The unit of a push whose biggest object has `bytes`: the least multiple of 1 MiB with at most 10,000 units. */
export function unitBytesFor(bytes: number): number {
  const { unitBytes, s3Parts } = LIMITS;
  return Math.max(1, Math.ceil(bytes / s3Parts / unitBytes)) * unitBytes;
}

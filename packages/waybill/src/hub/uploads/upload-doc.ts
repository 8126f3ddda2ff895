// `{room}/sessions/{uploadId}.json` in the uploads bucket: one push, found again by its fingerprint. What is
// stored of it is not written here: the store is asked (I2).
//
//   open ── complete ─▶ completed ── its time is over ─▶ aborted ─▶ gone
//    │ ▲                    └── pushed again after that ─▶ open
//    │ └── pushed again ──┐
//    └── abort, its time ─▶ aborted ─▶ gone
//
// `completed` is the commit: records and names follow from the record in this document, and are written
// again by whoever finds them missing.
import {
  ArtifactRecord,
  type JobId,
  LIMITS,
  MANIFEST_KEY,
  type PlannedObject,
  RoomId,
  Timestamp,
  UploadId,
  UploadPlan,
} from "@waybill/sdk/protocol";
import { createHash } from "node:crypto";
import * as v from "valibot";

/** Sessions of earlier hubs lack two members. No push finds them again, but they are listed and swept. */
const StoredPlan = v.object({
  ...UploadPlan.entries,
  shardBytes: v.optional(UploadPlan.entries.shardBytes, 4 * 1024 * 1024),
  unitBytes: v.optional(UploadPlan.entries.unitBytes, LIMITS.unitBytes),
});

export const UploadDoc = v.object({
  upload: UploadId,
  room: RoomId,
  state: v.picklist(["open", "completed", "aborted"]),
  /** The plan of whoever opened it; others go on by it. */
  plan: StoredPlan,
  /** Set when every part but an object's last has exactly the plan's `unitBytes`. */
  equalParts: v.optional(v.literal(true)),
  /** Which bucket the bytes go to, and the prefix there, which ends in `/`. */
  place: v.picklist(["uploads", "rooms"]),
  prefix: v.string(),
  createdAt: Timestamp,
  createdBy: v.string(),
  expiresAt: Timestamp,
  /** The store's multipart uploads by object key. */
  multipart: v.record(v.string(), v.string()),
  /** Etags of joined objects that a completion found wrong: with these they count as not stored, and are sent anew. */
  anew: v.optional(v.record(v.string(), v.string())),
  /** Until when URLs may replace the body with an etag, in ms of the epoch, by object key and etag. */
  replacing: v.optional(v.record(v.string(), v.record(v.string(), v.number()))),
  /** Set when completed. */
  record: v.optional(ArtifactRecord),
  abortedAt: v.optional(Timestamp),
});
export type UploadDoc = v.InferOutput<typeof UploadDoc>;

export function sessionsPrefix(room: RoomId): string {
  return `${room}/sessions/`;
}

export function sessionKey(room: RoomId, upload: UploadId): string {
  return `${sessionsPrefix(room)}${upload}.json`;
}

/** The same room and fingerprint give the same upload, on any hub and machine. */
export function uploadIdOf(room: RoomId, fingerprint: string): UploadId {
  const hash = createHash("sha256").update(`${room}\n${fingerprint}`).digest("hex");
  return v.parse(UploadId, `u_${hash.slice(0, 24)}`);
}

/** Where the checkpoints of a job lie in the rooms bucket. */
export function checkpointsFolder(room: RoomId, job: JobId): string {
  return `${room}/jobs/${job}/checkpoints/`;
}

/** Where a plan's bytes go: datasets that pass to the uploads bucket, what is kept to the rooms bucket. */
export function placeFor(
  room: RoomId,
  upload: UploadId,
  /** The plan of whoever opened it; others go on by it. */
  plan: UploadPlan,
): Pick<UploadDoc, "place" | "prefix"> {
  const { purpose } = plan;
  if (purpose.kind === "model") {
    return { place: "rooms", prefix: `${room}/models/${purpose.modelType}_${purpose.model}/` };
  }
  if (purpose.kind === "checkpoint") {
    return { place: "rooms", prefix: `${checkpointsFolder(room, purpose.job)}${upload}/` };
  }
  return purpose.keep
    ? { place: "rooms", prefix: `${room}/datasets/${upload}/` }
    : { place: "uploads", prefix: `${room}/${upload}/` };
}

const objectsByKey = new WeakMap<UploadPlan, Map<string, PlannedObject>>();

/** A planned object; `undefined` for the manifest and for keys that are not planned. */
export function plannedObject(plan: UploadPlan, key: string): PlannedObject | undefined {
  let byKey = objectsByKey.get(plan);
  if (byKey === undefined) {
    byKey = new Map(plan.objects.map((object) => [object.key, object]));
    objectsByKey.set(plan, byKey);
  }
  return byKey.get(key);
}

/**
 * Where a body goes that is put at once. A model's waits in the upload's own folder and is copied by the
 * hub on completion: a worker whose attempt is over may still hold good URLs, and with them it must not be
 * able to replace what a newer attempt has published (I11). Joined objects go to their place directly,
 * because only the hub can join them.
 */
export function placeAtOnce(doc: UploadDoc): Pick<UploadDoc, "place" | "prefix"> {
  return doc.plan.purpose.kind === "model"
    ? { place: "uploads", prefix: `${doc.room}/${doc.upload}/` }
    : doc;
}

/** The document of an upload that is given up; its bytes may go. */
export function abortedDoc(doc: UploadDoc, nowMs: number): UploadDoc {
  return { ...doc, state: "aborted", abortedAt: new Date(nowMs).toISOString() };
}

/** The document of an upload whose artifact is `record`. */
export function completedDoc(doc: UploadDoc, record: ArtifactRecord): UploadDoc {
  const { anew: _, replacing: __, ...rest } = doc;
  return { ...rest, state: "completed", record, multipart: {} };
}

export function isManifest(key: string): boolean {
  return key === MANIFEST_KEY;
}

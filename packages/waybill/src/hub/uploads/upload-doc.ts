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
  MANIFEST_KEY,
  type ObjectKey,
  RoomId,
  Timestamp,
  UploadId,
  UploadPlan,
} from "@waybill/sdk/protocol";
import { createHash } from "node:crypto";
import * as v from "valibot";

export const UploadDoc = v.object({
  upload: UploadId,
  room: RoomId,
  state: v.picklist(["open", "completed", "aborted"]),
  plan: UploadPlan,
  /** Which bucket the bytes go to, and the prefix there, which ends in `/`. */
  place: v.picklist(["uploads", "rooms"]),
  prefix: v.string(),
  createdAt: Timestamp,
  createdBy: v.string(),
  expiresAt: Timestamp,
  /** The store's multipart uploads by object key. */
  multipart: v.record(v.string(), v.string()),
  /** Set when completed. */
  record: v.optional(ArtifactRecord),
  abortedAt: v.optional(Timestamp),
});
export type UploadDoc = v.InferOutput<typeof UploadDoc>;

type Key = v.InferOutput<typeof ObjectKey>;

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

/** Where a plan's bytes go: datasets that pass to the uploads bucket, what is kept to the rooms bucket. */
export function placeFor(
  room: RoomId,
  upload: UploadId,
  plan: UploadPlan,
): Pick<UploadDoc, "place" | "prefix"> {
  const { purpose } = plan;
  if (purpose.kind === "model") {
    return { place: "rooms", prefix: `${room}/models/${purpose.modelType}_${purpose.model}/` };
  }
  return purpose.keep
    ? { place: "rooms", prefix: `${room}/datasets/${upload}/` }
    : { place: "uploads", prefix: `${room}/${upload}/` };
}

const sizes = new WeakMap<UploadPlan, Map<Key, number>>();

/** Size of a planned object; `undefined` for the manifest and for keys that are not planned. */
export function plannedSize(plan: UploadPlan, key: Key): number | undefined {
  let byKey = sizes.get(plan);
  if (byKey === undefined) {
    byKey = new Map(plan.objects.map((object) => [object.key, object.size]));
    sizes.set(plan, byKey);
  }
  return byKey.get(key);
}

/** How many parts an object of this size has; 1 for what is put at once. */
export function partCount(plan: UploadPlan, size: number): number {
  return Math.max(1, Math.ceil(size / plan.partBytes));
}

/** Whether an object is a multipart upload, which the hub joins. */
export function isJoined(plan: UploadPlan, size: number): boolean {
  return size > plan.partBytes;
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
  return { ...doc, state: "completed", record, multipart: {} };
}

export function isManifest(key: Key): boolean {
  return key === MANIFEST_KEY;
}

// Upload sessions, artifacts and signed reads.
import * as v from "valibot";
import { ArtifactRecord } from "../artifact.ts";
import { ArtifactId, ArtifactName, Crc32Base64, RoomId, Timestamp, UploadId } from "../ids.ts";
import {
  CopiedPart,
  ObjectKey,
  PartToCopy,
  PartToSign,
  SignedPart,
  SignedRead,
  UploadPlan,
  UploadStatus,
  UploadSummary,
} from "../uploads.ts";
import { ReadableArtifact } from "../reading.ts";
import { LIMITS } from "../version.ts";
import { ALL, DOERS, WRITERS, route } from "./route.ts";

const inRoom = v.object({ room: RoomId });
const inUpload = v.object({ room: RoomId, upload: UploadId });
const inArtifact = v.object({ room: RoomId, artifact: ArtifactId });
const Ok = v.object({ ok: v.literal(true) });
/** When signed URLs end: by the hub's clock, and from now on for clients whose clock is another. */
const validity = { expiresAt: Timestamp, validForMs: v.pipe(v.number(), v.minValue(0)) };
/** A part and the CRC-32 it must be stored with; part 0 is an object put at once. */
const PartToJoin = v.object({
  part: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(LIMITS.s3Parts)),
  crc32: Crc32Base64,
});

export const TRANSFER_ROUTES = {
  beginUpload: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads",
    roles: DOERS,
    summary: "Open an upload session or find the one that is open",
    params: inRoom,
    body: UploadPlan,
    response: v.object({
      resumed: v.boolean(),
      status: UploadStatus,
      /** Scheme, host and port that permits will lead to. */
      storeOrigin: v.optional(v.pipe(v.string(), v.url())),
    }),
  }),
  listUploads: route({
    method: "GET",
    path: "/v1/rooms/:room/uploads",
    roles: WRITERS,
    summary: "Open upload sessions",
    params: inRoom,
    response: v.object({ uploads: v.array(UploadSummary) }),
  }),
  showUpload: route({
    method: "GET",
    path: "/v1/rooms/:room/uploads/:upload",
    roles: DOERS,
    summary: "What the store holds of an upload",
    params: inUpload,
    response: UploadStatus,
  }),
  signParts: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads/:upload/parts",
    roles: DOERS,
    summary: "Presigned PUTs, each for one body of known size and checksum",
    params: inUpload,
    body: v.object({
      parts: v.pipe(v.array(PartToSign), v.minLength(1), v.maxLength(LIMITS.signBatch)),
    }),
    response: v.object({ parts: v.array(SignedPart), ...validity }),
  }),
  copyParts: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads/:upload/copies",
    roles: DOERS,
    summary: "Parts that the store copies from artifacts of the room, each checked by its CRC-32",
    params: inUpload,
    body: v.object({
      copies: v.pipe(v.array(PartToCopy), v.minLength(1), v.maxLength(LIMITS.copyBatch)),
    }),
    response: v.object({ copied: v.array(CopiedPart) }),
  }),
  completeUpload: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads/:upload/complete",
    roles: DOERS,
    summary: "Join the parts, check sizes and checksums, record the artifact",
    params: inUpload,
    body: v.object({
      artifact: ArtifactId,
      objects: v.array(v.object({ key: ObjectKey, parts: v.array(PartToJoin) })),
      /** What the artifact is called by who completes it; the name the session was begun with when absent. */
      name: v.optional(ArtifactName),
    }),
    response: ArtifactRecord,
  }),
  abortUpload: route({
    method: "DELETE",
    path: "/v1/rooms/:room/uploads/:upload",
    roles: DOERS,
    summary: "Drop an open upload and its parts",
    params: inUpload,
    response: Ok,
  }),
  listArtifacts: route({
    method: "GET",
    path: "/v1/rooms/:room/artifacts",
    roles: ALL,
    summary: "Artifacts the room holds",
    params: inRoom,
    response: v.object({ artifacts: v.array(ArtifactRecord) }),
  }),
  resolveArtifact: route({
    method: "GET",
    path: "/v1/rooms/:room/artifacts/:ref",
    roles: ALL,
    summary:
      "An artifact by id, by unique prefix of its id (at least 8 digits) or by name (the newest)",
    params: v.object({ room: RoomId, ref: v.union([ArtifactId, ArtifactName]) }),
    query: v.object({ reading: v.optional(v.literal("1")) }),
    response: ReadableArtifact,
  }),
  adoptArtifact: route({
    method: "POST",
    path: "/v1/rooms/:room/artifacts/:artifact/adopt",
    roles: WRITERS,
    summary:
      "Push an artifact the room holds again without sending it: its time begins anew, and the name means it",
    params: inArtifact,
    body: v.object({ name: ArtifactName, keep: v.boolean() }),
    response: ArtifactRecord,
  }),
  signReads: route({
    method: "POST",
    path: "/v1/rooms/:room/artifacts/:artifact/reads",
    roles: ALL,
    summary: "Presigned GETs of an artifact's objects",
    params: inArtifact,
    body: v.object({
      keys: v.pipe(v.array(ObjectKey), v.minLength(1), v.maxLength(LIMITS.signBatch)),
    }),
    response: v.object({ reads: v.array(SignedRead), ...validity }),
  }),
} as const;

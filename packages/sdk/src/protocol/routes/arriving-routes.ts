// Artifacts that are announced and read while they are still being pushed.
import * as v from "valibot";
import {
  ANNOUNCED_MANIFEST_BYTES,
  AnnouncedPush,
  Arriving,
  DirectAddresses,
  ResolvedArtifact,
  SegmentName,
  SegmentToTake,
  SignedSegment,
} from "../arriving.ts";
import { ArtifactId, RoomId, Timestamp, UploadId } from "../ids.ts";
import { CopiedPart, PartToSign, SignedPart } from "../uploads.ts";
import { LIMITS } from "../version.ts";
import { ALL, WRITERS, route } from "./route.ts";

const inUpload = v.object({ room: RoomId, upload: UploadId });
const inArtifact = v.object({ room: RoomId, artifact: ArtifactId });
const validity = { expiresAt: Timestamp, validForMs: v.pipe(v.number(), v.minValue(0)) };

export const ARRIVING_ROUTES = {
  announceUpload: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads/:upload/announce",
    roles: WRITERS,
    summary: "Let an open upload's artifact be resolved and read while it is sent",
    params: inUpload,
    body: v.object({
      artifact: ArtifactId,
      manifestBytes: v.pipe(
        v.number(),
        v.safeInteger(),
        v.minValue(1),
        v.maxValue(ANNOUNCED_MANIFEST_BYTES),
      ),
      direct: DirectAddresses,
      ...AnnouncedPush.entries,
    }),
    response: ResolvedArtifact,
  }),
  signSegments: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads/:upload/segments",
    roles: WRITERS,
    summary: "Presigned PUTs of parts as objects of their own, and of the announced manifest",
    params: inUpload,
    body: v.object({
      parts: v.pipe(v.array(PartToSign), v.minLength(1), v.maxLength(LIMITS.signBatch)),
    }),
    response: v.object({ parts: v.array(SignedPart), ...validity }),
  }),
  takeSegments: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads/:upload/segments/take",
    roles: WRITERS,
    summary: "Have the store make parts of segments, each checked by its CRC-32",
    params: inUpload,
    body: v.object({
      segments: v.pipe(v.array(SegmentToTake), v.minLength(1), v.maxLength(LIMITS.copyBatch)),
    }),
    response: v.object({ copied: v.array(CopiedPart) }),
  }),
  showArriving: route({
    method: "GET",
    path: "/v1/rooms/:room/artifacts/:artifact/arriving",
    roles: ALL,
    summary: "What can be read of an announced artifact now",
    params: inArtifact,
    query: v.object({ revision: v.optional(v.pipe(v.string(), v.maxLength(64))) }),
    response: Arriving,
  }),
  signArriving: route({
    method: "POST",
    path: "/v1/rooms/:room/artifacts/:artifact/arriving/reads",
    roles: ALL,
    summary: "Presigned GETs of segments of an announced artifact",
    params: inArtifact,
    body: v.object({
      segments: v.pipe(v.array(SegmentName), v.minLength(1), v.maxLength(LIMITS.signBatch)),
    }),
    response: v.object({ reads: v.array(SignedSegment), ...validity }),
  }),
} as const;

// Every HTTP route of the hub, once: who may call it, what goes in, what comes out. The hub mounts this
// table, the client is typed by it, OpenAPI is printed from it, and the access test walks it.
import * as v from "valibot";
import {
  InviteCode,
  InviteRole,
  Label,
  PublicKey,
  Role,
  WorkerKeyInfo,
  PeerInfo,
  type Role as RoleName,
} from "./access.ts";
import { ArtifactRecord } from "./artifact.ts";
import { CommandName, JobEvent, JobState } from "./events.ts";
import {
  Alias,
  ArtifactId,
  ArtifactName,
  Crc32Base64,
  JobId,
  ModelId,
  ModelRef,
  ModelType,
  RoomId,
  Tag,
  Timestamp,
  UploadId,
} from "./ids.ts";
import { JobDoc, JobSpec } from "./jobs.ts";
import { ModelEntry, ModelPublication, Registry } from "./registry.ts";
import {
  PartToSign,
  SignedPart,
  SignedRead,
  ObjectKey,
  UploadPlan,
  UploadStatus,
} from "./uploads.ts";
import { LIMITS } from "./version.ts";
import { WorkerInfo } from "./workers.ts";

type AnyObject = v.GenericSchema<unknown, Record<string, unknown>>;

export type Route = {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Hono's syntax: `:room`. */
  readonly path: string;
  /** `public`: no token. Otherwise the roles of the room in the path. */
  readonly roles: "public" | readonly RoleName[];
  readonly summary: string;
  readonly params: AnyObject;
  readonly query: AnyObject;
  readonly body: v.GenericSchema | undefined;
  readonly response: v.GenericSchema;
};

const ALL = ["owner", "member", "worker", "viewer"] as const;
const WRITERS = ["owner", "member"] as const;
const DOERS = ["owner", "member", "worker"] as const;
const OWNER = ["owner"] as const;
const WORKERS = ["worker"] as const;

const none = v.object({});
const inRoom = v.object({ room: RoomId });
const inUpload = v.object({ room: RoomId, upload: UploadId });
const inArtifact = v.object({ room: RoomId, artifact: ArtifactId });
const inJob = v.object({ room: RoomId, job: JobId });
const inSample = v.object({
  room: RoomId,
  job: JobId,
  file: v.pipe(v.string(), v.regex(/^[0-9a-f]{16,64}\.(?:png|jpg|webp|gif)$/)),
});
const ofModel = v.object({ room: RoomId, model: ModelRef });
const Ok = v.object({ ok: v.literal(true) });
const Seq = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const SeqText = v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number));
const Attempt = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const Reason = v.pipe(v.string(), v.maxLength(1024));

const route = <const R extends Omit<Route, "params" | "query" | "body"> & Partial<Route>>(
  spec: R,
) => spec;

export const ROUTES = {
  health: route({
    method: "GET",
    path: "/v1/health",
    roles: "public",
    summary: "Whether the hub and its store answer",
    response: v.object({ ok: v.boolean(), store: v.picklist(["ok", "unreachable"]) }),
  }),
  version: route({
    method: "GET",
    path: "/v1/version",
    roles: "public",
    summary: "Versions of hub and protocol",
    response: v.object({ version: v.string(), protocol: v.number() }),
  }),

  createRoom: route({
    method: "POST",
    path: "/v1/rooms",
    roles: "public",
    summary:
      "Create a room; answers its owner token, once, or again within 10 minutes to who gives the same nonce",
    body: v.object({
      name: RoomId,
      adminToken: v.optional(v.string()),
      /** Random; makes the call repeatable when its answer was lost. */
      nonce: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{32,128}$/, "not 32–128 hex digits"))),
    }),
    response: v.object({ room: RoomId, token: v.string(), expiresAt: Timestamp }),
  }),
  showRoom: route({
    method: "GET",
    path: "/v1/rooms/:room",
    roles: ALL,
    summary: "A room and who is present",
    params: inRoom,
    response: v.object({
      room: RoomId,
      createdAt: Timestamp,
      role: Role,
      session: v.picklist(["active", "ended"]),
      peers: v.array(PeerInfo),
      workers: v.number(),
    }),
  }),
  createInvite: route({
    method: "POST",
    path: "/v1/rooms/:room/invites",
    roles: OWNER,
    summary: "A single-use code, good for 10 minutes",
    params: inRoom,
    body: v.object({ role: InviteRole }),
    response: v.object({ code: v.string(), role: InviteRole, expiresAt: Timestamp }),
  }),
  join: route({
    method: "POST",
    path: "/v1/join",
    roles: "public",
    summary: "Exchange an invite code for a token bound to a key",
    body: v.object({ code: InviteCode, publicKey: PublicKey, name: Label }),
    response: v.object({ room: RoomId, role: Role, token: v.string(), expiresAt: Timestamp }),
  }),
  renewToken: route({
    method: "POST",
    path: "/v1/rooms/:room/token",
    roles: ALL,
    summary: "A fresh token with the same rights",
    params: inRoom,
    response: v.object({ token: v.string(), expiresAt: Timestamp }),
  }),
  createWorkerKey: route({
    method: "POST",
    path: "/v1/rooms/:room/worker-keys",
    roles: OWNER,
    summary: "A long-lived worker token for pods, bound to a key",
    params: inRoom,
    body: v.object({
      publicKey: PublicKey,
      label: Label,
      days: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(3650))),
    }),
    response: v.object({ key: WorkerKeyInfo, token: v.string() }),
  }),
  listWorkerKeys: route({
    method: "GET",
    path: "/v1/rooms/:room/worker-keys",
    roles: OWNER,
    summary: "Worker keys, without their secrets",
    params: inRoom,
    response: v.object({ keys: v.array(WorkerKeyInfo) }),
  }),
  revokeWorkerKey: route({
    method: "DELETE",
    path: "/v1/rooms/:room/worker-keys/:key",
    roles: OWNER,
    summary: "Make a worker key useless",
    params: v.object({ room: RoomId, key: v.string() }),
    response: Ok,
  }),

  beginUpload: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads",
    roles: DOERS,
    summary: "Open an upload session or find the one that is open",
    params: inRoom,
    body: UploadPlan,
    response: v.object({ resumed: v.boolean(), status: UploadStatus }),
  }),
  listUploads: route({
    method: "GET",
    path: "/v1/rooms/:room/uploads",
    roles: WRITERS,
    summary: "Open upload sessions",
    params: inRoom,
    response: v.object({ uploads: v.array(v.omit(UploadStatus, ["objects"])) }),
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
    response: v.object({ parts: v.array(SignedPart), expiresAt: Timestamp }),
  }),
  completeUpload: route({
    method: "POST",
    path: "/v1/rooms/:room/uploads/:upload/complete",
    roles: DOERS,
    summary: "Join the parts, check sizes and checksums, record the artifact",
    params: inUpload,
    body: v.object({
      artifact: ArtifactId,
      objects: v.array(v.object({ key: ObjectKey, parts: v.array(Crc32Base64) })),
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
    response: v.object({ reads: v.array(SignedRead), expiresAt: Timestamp }),
  }),

  submitJob: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs",
    roles: WRITERS,
    summary: "Submit a job; idempotent by its id",
    params: inRoom,
    body: v.object({ job: JobId, spec: JobSpec, submittedBy: v.optional(Label) }),
    response: JobDoc,
  }),
  listJobs: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs",
    roles: ALL,
    summary: "Jobs, newest first",
    params: inRoom,
    query: v.object({ state: v.optional(JobState), limit: v.optional(SeqText) }),
    response: v.object({ jobs: v.array(JobDoc) }),
  }),
  showJob: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs/:job",
    roles: ALL,
    summary: "A job",
    params: inJob,
    response: JobDoc,
  }),
  commandJob: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/commands",
    roles: WRITERS,
    summary:
      "Pause, resume, stop or cancel; answers when the worker has received it, or applied at once while queued",
    params: inJob,
    body: v.object({
      id: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/)),
      name: CommandName,
      by: v.optional(Label),
    }),
    response: v.object({ id: v.string(), stage: v.picklist(["received", "applied"]) }),
  }),
  readEvents: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs/:job/events",
    roles: ALL,
    summary: "Stored events after a sequence number, a page at a time, or the last ones (`tail`)",
    params: inJob,
    query: v.object({
      since: v.optional(SeqText),
      limit: v.optional(SeqText),
      tail: v.optional(SeqText),
    }),
    response: v.object({
      events: v.array(JobEvent),
      more: v.boolean(),
      lastSeq: Seq,
      state: JobState,
    }),
  }),
  appendEvents: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/events",
    roles: WORKERS,
    summary: "Store a run of consecutive events as a segment; idempotent",
    params: inJob,
    body: v.object({ attempt: Attempt, events: v.pipe(v.array(JobEvent), v.minLength(1)) }),
    response: v.object({ lastSeq: Seq }),
  }),
  renewLease: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/lease",
    roles: WORKERS,
    summary: "Keep a job: extends the lease and the reserved sequence numbers",
    params: inJob,
    body: v.object({
      attempt: Attempt,
      state: v.picklist(["assigned", "running", "paused", "stopping"]),
      lastSeq: Seq,
    }),
    response: v.object({ leaseUntil: Timestamp, seqReserved: Seq }),
  }),
  endJob: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/end",
    roles: WORKERS,
    summary: "The attempt's outcome with its last events; idempotent",
    params: inJob,
    body: v.object({
      attempt: Attempt,
      state: v.picklist(["completed", "failed", "cancelled", "interrupted"]),
      reason: v.optional(Reason),
      model: v.optional(ModelId),
      events: v.array(JobEvent),
    }),
    response: JobDoc,
  }),
  putSample: route({
    method: "PUT",
    path: "/v1/rooms/:room/jobs/:job/samples/:file",
    roles: WORKERS,
    summary: "Keep one sample image (at most 1 MiB); the body is the image",
    params: inSample,
    response: Ok,
  }),
  readSample: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs/:job/samples/:file",
    roles: ALL,
    summary: "A presigned GET of a sample image",
    params: inSample,
    response: v.object({ url: v.string(), expiresAt: Timestamp }),
  }),
  listWorkers: route({
    method: "GET",
    path: "/v1/rooms/:room/workers",
    roles: ALL,
    summary: "Workers present",
    params: inRoom,
    response: v.object({ workers: v.array(WorkerInfo) }),
  }),

  readRegistry: route({
    method: "GET",
    path: "/v1/rooms/:room/registry",
    roles: ALL,
    summary: "The room's registry document",
    params: inRoom,
    response: Registry,
  }),
  showModel: route({
    method: "GET",
    path: "/v1/rooms/:room/models/:model",
    roles: ALL,
    summary: "A model by id, alias or latest-{type}",
    params: ofModel,
    response: v.object({ model: ModelEntry, aliases: v.array(v.string()) }),
  }),
  reserveModel: route({
    method: "POST",
    path: "/v1/rooms/:room/model-ids",
    roles: DOERS,
    summary:
      "An id for a model from its canonical description's digest; the same owner gets the same id again",
    params: inRoom,
    body: v.object({
      digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
      owner: v.pipe(v.string(), v.maxLength(128)),
      modelType: ModelType,
    }),
    response: v.object({ model: ModelId }),
  }),
  publishModel: route({
    method: "POST",
    path: "/v1/rooms/:room/models",
    roles: DOERS,
    summary:
      "Enter a verified artifact in the registry with alias, tags and latest-{type}, in one conditional write",
    params: inRoom,
    body: ModelPublication,
    response: ModelEntry,
  }),
  setAlias: route({
    method: "PUT",
    path: "/v1/rooms/:room/aliases/:alias",
    roles: WRITERS,
    summary: "Point an alias at a model",
    params: v.object({ room: RoomId, alias: Alias }),
    body: v.object({ model: ModelRef, expect: v.optional(ModelId), why: v.optional(Reason) }),
    response: v.object({ alias: Alias, model: ModelId, from: v.optional(ModelId) }),
  }),
  removeAlias: route({
    method: "DELETE",
    path: "/v1/rooms/:room/aliases/:alias",
    roles: WRITERS,
    summary: "Remove an alias; its history stays",
    params: v.object({ room: RoomId, alias: Alias }),
    response: Ok,
  }),
  editTags: route({
    method: "POST",
    path: "/v1/rooms/:room/models/:model/tags",
    roles: WRITERS,
    summary: "Add and remove tags of a model",
    params: ofModel,
    body: v.object({ add: v.array(Tag), remove: v.array(Tag) }),
    response: ModelEntry,
  }),
} as const satisfies Record<string, Omit<Route, "params" | "query" | "body"> & Partial<Route>>;

export type RouteName = keyof typeof ROUTES;
type Entry<N extends RouteName> = (typeof ROUTES)[N];
type InputOf<N extends RouteName, K extends "params" | "query" | "body"> =
  Entry<N> extends { readonly [P in K]: infer S extends v.GenericSchema }
    ? { readonly [P in K]: v.InferInput<S> }
    : { readonly [P in K]?: never };
/** What a caller gives: `params`, `query` and `body` where the route has them. */
export type RouteInput<N extends RouteName> = InputOf<N, "params"> &
  InputOf<N, "query"> &
  InputOf<N, "body">;
export type RouteParams<N extends RouteName> =
  Entry<N> extends { readonly params: infer S extends v.GenericSchema }
    ? v.InferOutput<S>
    : Record<string, never>;
export type RouteQuery<N extends RouteName> =
  Entry<N> extends { readonly query: infer S extends v.GenericSchema }
    ? v.InferOutput<S>
    : Record<string, never>;
export type RouteBody<N extends RouteName> =
  Entry<N> extends { readonly body: infer S extends v.GenericSchema }
    ? v.InferOutput<S>
    : undefined;
export type RouteOutput<N extends RouteName> = v.InferOutput<Entry<N>["response"]>;

/** A route with every field present. */
export function routeOf(name: RouteName): Route {
  const entry: Omit<Route, "params" | "query" | "body"> & Partial<Route> = ROUTES[name];
  return { ...entry, params: entry.params ?? none, query: entry.query ?? none, body: entry.body };
}

/** All names, in the table's order. */
export const ROUTE_NAMES = Object.keys(ROUTES) as RouteName[];

/** The signaling socket's path. */
export function signalingPath(room: RoomId): string {
  return `/v1/rooms/${room}/signal`;
}

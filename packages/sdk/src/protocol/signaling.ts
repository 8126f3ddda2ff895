// Messages between a peer and its hub over the WebSocket (docs/protocol/signaling.md).
import * as v from "valibot";
import {
  IcePolicy,
  KeyAgreement,
  Label,
  PeerInfo,
  PeerSignature,
  PublicKey,
  Role,
} from "./access.ts";
import { Serving } from "./data-server.ts";
import { JobCommand, JobState } from "./events.ts";
import {
  Alias,
  ArtifactId,
  ByteCount,
  JobId,
  ModelId,
  ModelType,
  PeerId,
  RoomId,
  Timestamp,
} from "./ids.ts";
import { JobAssignment } from "./jobs.ts";
import { WorkerCapabilities, WorkerMode } from "./workers.ts";

/** Why a connection was closed, as `bye` tells it; others may come (peer-channel.md §4). */
export const BYE = {
  /** Nobody needs it any more. */
  released: "released",
  /** Another connection has taken over. */
  replaced: "replaced",
  /** It broke, was silent, or did not open in time. */
  failed: "failed",
  /** Its proof or its candidates are not acceptable: trying the same again is pointless. */
  refused: "refused",
  /** This peer has no WebRTC, or no room for another connection. */
  unsupported: "unsupported",
} as const;
export type ByeCode = (typeof BYE)[keyof typeof BYE];

/** What peers exchange to set up a connection; the hub carries it unread. */
export const Negotiation = v.variant("kind", [
  v.object({
    kind: v.literal("description"),
    sdpType: v.picklist(["offer", "answer", "rollback"]),
    sdp: v.string(),
    connection: v.string(),
    /** Over the DTLS fingerprint, by the key the peer's id is made of (peer-channel.md §4). */
    proof: v.optional(PeerSignature),
    /** With an offer: the open connection that this one is to take over from. */
    replaces: v.optional(v.string()),
    /** With an offer: a further connection of the link, for bulk only. */
    bulk: v.optional(v.boolean()),
  }),
  v.object({
    kind: v.literal("candidate"),
    candidate: v.string(),
    mid: v.optional(v.nullable(v.string())),
    connection: v.string(),
  }),
  v.object({
    kind: v.literal("bye"),
    connection: v.string(),
    code: v.optional(v.string()),
    /** For people; cut by its sender. */
    reason: v.optional(v.string()),
  }),
]);
export type Negotiation = v.InferOutput<typeof Negotiation>;

/** Artifacts a worker tells of: what routing can use; the rest of a large cache is found when asked for. */
const MAX_CACHED = 256;

const AttemptNumber = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

export const PeerToHub = v.variant("type", [
  v.object({
    type: v.literal("hello"),
    protocol: v.number(),
    token: v.string(),
    /** Proof of possession of `publicKey` (as in the `DPoP` header), bound to this socket's path. */
    proof: v.string(),
    publicKey: PublicKey,
    /** Tells processes of one key apart; stable for a worker's data directory. */
    instance: v.pipe(v.string(), v.regex(/^[a-z0-9]{1,12}$/)),
    name: Label,
    agreement: v.optional(KeyAgreement),
    serves: v.optional(Serving),
    /** Present when the peer offers itself as a worker. */
    worker: v.optional(
      v.object({
        capabilities: WorkerCapabilities,
        jobs: v.array(v.object({ job: JobId, attempt: AttemptNumber })),
        /** Artifacts in its cache, most recently used first. */
        cached: v.optional(v.pipe(v.array(ArtifactId), v.maxLength(MAX_CACHED))),
      }),
    ),
  }),
  v.object({ type: v.literal("signal"), to: PeerId, data: Negotiation }),
  /** A control-channel message carried by the hub while no direct channel is open. */
  v.object({ type: v.literal("relay"), to: PeerId, data: v.unknown() }),
  v.object({ type: v.literal("job.accept"), job: JobId, attempt: AttemptNumber }),
  v.object({
    type: v.literal("job.decline"),
    job: JobId,
    attempt: AttemptNumber,
    reason: v.string(),
  }),
  /** The worker has ended its work on a job: the slot is free. */
  v.object({ type: v.literal("job.released"), job: JobId, attempt: AttemptNumber }),
  v.object({
    type: v.literal("command.ack"),
    id: v.string(),
    stage: v.picklist(["received", "rejected"]),
    message: v.optional(v.string()),
  }),
  /** The worker's cache has changed. */
  v.object({
    type: v.literal("worker.cached"),
    artifacts: v.pipe(v.array(ArtifactId), v.maxLength(MAX_CACHED)),
  }),
  /** Bytes a connection has moved through a TURN server since it began, as its own end counts them. */
  v.object({
    type: v.literal("relay.usage"),
    connection: v.pipe(v.string(), v.maxLength(64)),
    peer: PeerId,
    sentBytes: ByteCount,
    receivedBytes: ByteCount,
  }),
  v.object({ type: v.literal("ping"), t: v.number() }),
]);
export type PeerToHub = v.InferOutput<typeof PeerToHub>;

/** RTCIceServer of the W3C API. */
export const IceServer = v.object({
  urls: v.array(v.string()),
  username: v.optional(v.string()),
  credential: v.optional(v.string()),
});
export type IceServer = v.InferOutput<typeof IceServer>;

/** Bytes a room's peers have moved through TURN servers on one day (UTC), and how many they may. */
export const RelayBudget = v.object({
  day: v.pipe(v.string(), v.regex(/^\d{4}-\d{2}-\d{2}$/)),
  usedBytes: ByteCount,
  budgetBytes: v.optional(ByteCount),
  exhausted: v.boolean(),
});
export type RelayBudget = v.InferOutput<typeof RelayBudget>;

export const HubToPeer = v.variant("type", [
  v.object({
    type: v.literal("welcome"),
    protocol: v.number(),
    version: v.string(),
    peerId: PeerId,
    room: RoomId,
    role: Role,
    peers: v.array(PeerInfo),
    iceServers: v.array(IceServer),
    /** When the credentials of `iceServers` end; `iceServers` of the HTTP API gives others. */
    iceExpiresAt: v.optional(Timestamp),
    icePolicy: v.optional(IcePolicy),
    relayBudget: v.optional(RelayBudget),
    keepAliveMs: v.number(),
  }),
  /** The room's policy has changed. */
  v.object({ type: v.literal("ice.policy"), policy: IcePolicy }),
  /** The room's relayed bytes of today, when they have reached the budget or are below it again. */
  v.object({ type: v.literal("relay.budget"), budget: RelayBudget }),
  /** What the worker's room wants of it. */
  v.object({ type: v.literal("worker.mode"), mode: WorkerMode }),
  v.object({ type: v.literal("presence"), event: v.picklist(["joined", "left"]), peer: PeerInfo }),
  v.object({ type: v.literal("signal"), from: PeerId, role: Role, data: Negotiation }),
  v.object({ type: v.literal("relay"), from: PeerId, role: Role, name: Label, data: v.unknown() }),
  v.object({ type: v.literal("job.offer"), assignment: JobAssignment }),
  /** The worker must stop this attempt: it was cancelled or belongs to somebody else now. */
  v.object({
    type: v.literal("job.revoke"),
    job: JobId,
    attempt: AttemptNumber,
    reason: v.string(),
  }),
  v.object({ type: v.literal("job.command"), command: JobCommand, by: v.string() }),
  /** A job's state as the hub knows it, to every peer of the room. */
  v.object({
    type: v.literal("job.changed"),
    job: JobId,
    state: JobState,
    worker: v.optional(PeerId),
    attempt: v.number(),
  }),
  /** A model has entered the registry, to every peer of the room (signaling.md). */
  v.object({
    type: v.literal("model.published"),
    model: ModelId,
    modelType: ModelType,
    artifact: ArtifactId,
    bytes: ByteCount,
    alias: v.optional(Alias),
    job: v.optional(JobId),
    /** Where it was trained: it has the bytes already. */
    worker: v.optional(PeerId),
  }),
  v.object({
    type: v.literal("error"),
    code: v.string(),
    message: v.string(),
    to: v.optional(PeerId),
  }),
  v.object({ type: v.literal("pong"), t: v.number() }),
]);
export type HubToPeer = v.InferOutput<typeof HubToPeer>;

/** WebSocket close codes of the hub (4000–4999 are for applications, RFC 6455 §7.4.2). */
export const CLOSE = {
  /** The token or proof was refused; do not reconnect with the same one. */
  unauthorized: 4401,
  unsupportedVersion: 4426,
  /** Another socket took over this peer id. */
  replaced: 4409,
  /** The hub is going away; reconnect. */
  restarting: 4503,
  /** No frame within the keep-alive time. */
  idle: 4408,
} as const;

// Rooms, invites, tokens and worker keys; what a hub says of itself.
import * as v from "valibot";
import {
  IcePolicy,
  InviteCode,
  InviteRole,
  Label,
  PeerInfo,
  PublicKey,
  Role,
  WorkerKeyInfo,
} from "../access.ts";
import { ByteCount, PeerId, RoomId, Timestamp } from "../ids.ts";
import { IceServer, RelayBudget } from "../signaling.ts";
import { ALL, OWNER, WRITERS, route } from "./route.ts";

const inRoom = v.object({ room: RoomId });
const Ok = v.object({ ok: v.literal(true) });
const RoomPolicy = v.object({
  icePolicy: IcePolicy,
  relayBudgetBytes: v.optional(ByteCount),
});

export const ROOM_ROUTES = {
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
      policy: RoomPolicy,
      peers: v.array(PeerInfo),
      workers: v.number(),
    }),
  }),
  setRoomPolicy: route({
    method: "PUT",
    path: "/v1/rooms/:room/policy",
    roles: OWNER,
    summary:
      "Which candidate pairs the room's peers may use, and how many bytes a day they may relay",
    params: inRoom,
    body: v.object({
      icePolicy: v.optional(IcePolicy),
      /** `null`: what the hub's operator set. */
      relayBudgetBytes: v.optional(v.nullable(ByteCount)),
    }),
    response: RoomPolicy,
  }),
  iceServers: route({
    method: "GET",
    path: "/v1/rooms/:room/ice-servers",
    roles: ALL,
    summary: "STUN and TURN servers, with credentials of the caller's own that end soon",
    params: inRoom,
    response: v.object({
      iceServers: v.array(IceServer),
      expiresAt: v.optional(Timestamp),
      icePolicy: IcePolicy,
    }),
  }),
  relayUsage: route({
    method: "GET",
    path: "/v1/rooms/:room/relay-usage",
    roles: WRITERS,
    summary: "Bytes moved through TURN servers: per peer, for one day (UTC)",
    params: inRoom,
    query: v.object({ day: v.optional(v.pipe(v.string(), v.regex(/^\d{4}-\d{2}-\d{2}$/))) }),
    response: v.object({
      budget: RelayBudget,
      peers: v.array(
        v.object({
          peerId: PeerId,
          name: v.optional(Label),
          sentBytes: ByteCount,
          receivedBytes: ByteCount,
        }),
      ),
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
} as const;

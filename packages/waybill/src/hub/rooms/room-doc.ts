// `{room}/room.json`: what a room is, apart from what it holds. Changed by compare-and-swap only.
import { RoomId, Timestamp, WorkerKeyInfo } from "@waybill/sdk/protocol";
import { createHash } from "node:crypto";
import * as v from "valibot";

/** A creator whose answer was lost may ask again for this long. */
const CREATE_AGAIN_MS = 600_000;

/** A worker key as kept: with the thumbprint of the key it is bound to, and never the token. */
export const WorkerKeyDoc = v.object({ ...WorkerKeyInfo.entries, jkt: v.string() });
export type WorkerKeyDoc = v.InferOutput<typeof WorkerKeyDoc>;

export const RoomDoc = v.object({
  room: RoomId,
  createdAt: Timestamp,
  /** Address the creation came from. */
  createdBy: v.string(),
  /** SHA-256 of the nonce its creator gave, in hex. */
  nonceHash: v.optional(v.string()),
  /** Settings of the room (room-policies.ts); unknown ones survive an update. */
  policy: v.record(v.string(), v.unknown()),
  workerKeys: v.array(WorkerKeyDoc),
  /** Presence, not storage: ends after idle time, starts again with the next caller. */
  session: v.object({
    state: v.picklist(["active", "ended"]),
    startedAt: Timestamp,
    lastActiveAt: Timestamp,
    endedAt: v.optional(Timestamp),
  }),
});
export type RoomDoc = v.InferOutput<typeof RoomDoc>;

export function roomKey(room: RoomId): string {
  return `${room}/room.json`;
}

/** A room of this moment. */
export function newRoom(room: RoomId, createdBy: string, nowMs: number, nonce?: string): RoomDoc {
  const now = new Date(nowMs).toISOString();
  return {
    room,
    createdAt: now,
    createdBy,
    ...(nonce === undefined ? {} : { nonceHash: hashOf(nonce) }),
    policy: {},
    workerKeys: [],
    session: { state: "active", startedAt: now, lastActiveAt: now },
  };
}

/** Whether the room was made a moment ago by who knows this nonce. */
export function isJustCreated(doc: RoomDoc, nonce: string, nowMs: number): boolean {
  return doc.nonceHash === hashOf(nonce) && nowMs - Date.parse(doc.createdAt) <= CREATE_AGAIN_MS;
}

function hashOf(nonce: string): string {
  return createHash("sha256").update(nonce).digest("hex");
}

// Handlers of everything that hands out rights: invites, joining, renewal, worker keys.
import {
  LIMITS,
  type Role,
  type RoomId,
  type WorkerKeyInfo,
  WaybillError,
  cryptoRandom,
  randomText,
} from "@waybill/sdk/protocol";
import type { Documents } from "../bucket/documents.ts";
import type { Caller, Handlers } from "../http/handler.ts";
import type { RateLimit } from "../http/rate-limit.ts";
import type { Clock, Log } from "../log.ts";
import type { WorkerKeyDoc } from "../rooms/room-doc.ts";
import type { RoomDirectory } from "../rooms/room-directory.ts";
import { Invites } from "./invites.ts";
import { thumbprintOf } from "./proof.ts";
import type { Tokens } from "./tokens.ts";

type AccessRoute =
  | "createInvite"
  | "join"
  | "renewToken"
  | "createWorkerKey"
  | "listWorkerKeys"
  | "revokeWorkerKey";

export type AccessDeps = {
  readonly documents: Documents;
  readonly rooms: RoomDirectory;
  readonly tokens: Tokens;
  /** Counts failed joins only: it is guessing that must be slow, not a lab that joins at once. */
  readonly joinLimit: RateLimit;
  /** A worker key is useless from now on: whoever is connected with it must go. */
  readonly onKeyRevoked: (room: RoomId, key: string) => void;
  readonly clock: Clock;
  readonly log: Log;
};

export type AccessArea = {
  readonly handlers: Handlers<AccessRoute>;
  /** Deletes old invites; answers how many. */
  sweep(): Promise<number>;
};

const DAY_MS = 86_400_000;

/** Composes the area; does no I/O. */
export function createAccessArea(deps: AccessDeps): AccessArea {
  const { rooms, tokens, clock, log } = deps;
  const invites = new Invites(deps);

  const handlers: Handlers<AccessRoute> = {
    createInvite: async ({ params, body, caller }) => {
      const { code, expiresAt } = await invites.create(params.room, body.role, subjectOf(caller));
      log("info", "invite created", { room: params.room, role: body.role });
      return { code, role: body.role, expiresAt };
    },

    join: async ({ body, remote }) => {
      const refund = deps.joinLimit.take(remote);
      const { room, role } = await invites.redeem(body.code, body.publicKey, body.name);
      refund();
      const jkt = await thumbprintOf(body.publicKey);
      const issued = await tokens.issue({ room, role, jkt }, clock() + LIMITS.tokenMs);
      log("info", "joined by invite", { room, role, key: jkt, name: body.name });
      return { room, role, ...issued };
    },

    renewToken: async ({ params, caller }) => {
      const { role, jkt, workerKey } = required(caller);
      let untilMs = clock() + lifeOf(role);
      if (workerKey !== undefined) {
        const room = await rooms.get(params.room);
        const key = room.workerKeys.find((known) => known.id === workerKey);
        // A worker key ends when its owner said it ends.
        if (key !== undefined) untilMs = Date.parse(key.expiresAt);
      }
      return tokens.issue({ room: params.room, role, jkt, key: workerKey }, untilMs);
    },

    createWorkerKey: async ({ params, body }) => {
      const jkt = await thumbprintOf(body.publicKey);
      const nowMs = clock();
      const fresh: WorkerKeyDoc = {
        id: `k_${randomText(12, cryptoRandom)}`,
        label: body.label,
        createdAt: new Date(nowMs).toISOString(),
        expiresAt: new Date(nowMs + lifeOfKey(body.days)).toISOString(),
        jkt,
      };
      // Asked again for the same key and label (an answer was lost), the same entry is given.
      const same = (key: WorkerKeyDoc) =>
        key.jkt === jkt &&
        key.label === body.label &&
        key.revokedAt === undefined &&
        Date.parse(key.expiresAt) > nowMs;
      const room = await rooms.update(params.room, (doc) =>
        doc.workerKeys.some(same) ? undefined : { ...doc, workerKeys: [...doc.workerKeys, fresh] },
      );
      const key = room.workerKeys.find(same) ?? fresh;
      const { token } = await tokens.issue(
        { room: params.room, role: "worker", jkt, key: key.id },
        Date.parse(key.expiresAt),
      );
      log("info", "worker key created", { room: params.room, key: key.id, label: key.label });
      return { key: publicInfo(key), token };
    },

    listWorkerKeys: async ({ params }) => {
      const room = await rooms.get(params.room);
      return { keys: room.workerKeys.map(publicInfo) };
    },

    revokeWorkerKey: async ({ params }) => {
      const revokedAt = new Date(clock()).toISOString();
      await rooms.update(params.room, (doc) => {
        const key = doc.workerKeys.find((known) => known.id === params.key);
        if (key === undefined) {
          throw new WaybillError("not_found", `room ${doc.room} has no worker key ${params.key}`);
        }
        if (key.revokedAt !== undefined) return undefined;
        const workerKeys = doc.workerKeys.map((known) =>
          known === key ? { ...key, revokedAt } : known,
        );
        return { ...doc, workerKeys };
      });
      deps.onKeyRevoked(params.room, params.key);
      log("info", "worker key revoked", { room: params.room, key: params.key });
      return { ok: true };
    },
  };

  return { handlers, sweep: () => invites.sweep() };
}

/** How long a fresh token of a role lives. */
function lifeOf(role: Role): number {
  return role === "owner" ? LIMITS.longTokenMs : LIMITS.tokenMs;
}

function lifeOfKey(days: number | undefined): number {
  return days === undefined ? LIMITS.longTokenMs : days * DAY_MS;
}

function publicInfo(key: WorkerKeyDoc): WorkerKeyInfo {
  const { id, label, createdAt, expiresAt, revokedAt } = key;
  return { id, label, createdAt, expiresAt, ...(revokedAt === undefined ? {} : { revokedAt }) };
}

function required(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "a route lacks its caller");
  return caller;
}

function subjectOf(caller: Caller | undefined): string {
  return required(caller).subject;
}

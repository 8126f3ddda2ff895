// Handlers for rooms themselves.
import { LIMITS, type PeerInfo, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import { createHash, timingSafeEqual } from "node:crypto";
import type { Tokens } from "../access/tokens.ts";
import type { Handlers } from "../http/handler.ts";
import type { RateLimit } from "../http/rate-limit.ts";
import type { Clock, Log } from "../log.ts";
import type { RoomPolicies } from "./room-policies.ts";
import type { RoomDirectory } from "./room-directory.ts";

export type RoomsDeps = {
  readonly rooms: RoomDirectory;
  readonly tokens: Tokens;
  readonly policies: RoomPolicies;
  /** When set, only who knows it may create rooms. */
  readonly adminToken?: string | undefined;
  readonly createLimit: RateLimit;
  /** Who is connected to this room now. */
  readonly presence: (room: RoomId) => {
    readonly peers: PeerInfo[];
    /** Peers that offer themselves as workers. */
    readonly workers: number;
  };
  readonly clock: Clock;
  readonly log: Log;
};

/** Composes the area; does no I/O. */
export function createRoomsArea(deps: RoomsDeps): {
  readonly handlers: Handlers<"createRoom" | "showRoom">;
} {
  const { rooms, tokens, adminToken, clock, log } = deps;
  return {
    handlers: {
      createRoom: async ({ body, remote }) => {
        if (adminToken === undefined) {
          deps.createLimit.take(remote);
        } else if (!sameSecret(body.adminToken, adminToken)) {
          deps.createLimit.take(remote);
          throw new WaybillError("forbidden", "this hub's admin token is needed to create rooms", {
            hint: "ask who runs the hub for it",
          });
        }
        await rooms.create(body.name, remote, clock(), body.nonce);
        const rights = { room: body.name, role: "owner" } as const;
        const issued = await tokens.issue(rights, clock() + LIMITS.longTokenMs);
        log("info", "room created", { room: body.name });
        return { room: body.name, ...issued };
      },

      showRoom: async ({ params, caller }) => {
        if (caller === undefined) throw new WaybillError("internal", "showRoom lacks its caller");
        const doc = await rooms.get(params.room);
        return {
          room: doc.room,
          createdAt: doc.createdAt,
          role: caller.role,
          session: doc.session.state,
          policy: await deps.policies.of(params.room),
          ...deps.presence(params.room),
        };
      },
    },
  };
}

/** Compares in constant time, whatever the lengths. */
function sameSecret(given: string | undefined, wanted: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given ?? ""), digest(wanted));
}

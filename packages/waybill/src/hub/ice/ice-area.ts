// Handlers about the ways peers may connect: servers, policy, relayed bytes. And what a welcome tells of them.
import {
  type HubToPeer,
  type PeerId,
  type RoomId,
  type RouteName,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { Caller, Handlers } from "../http/handler.ts";
import type { RateLimit } from "../http/rate-limit.ts";
import type { Log } from "../log.ts";
import type { RoomPolicies } from "../rooms/room-policies.ts";
import type { IceServers } from "./ice-servers.ts";
import type { RelayMeter } from "./relay-meter.ts";

/** What a welcome says of servers and policy. */
export type IceFacts = Pick<
  Extract<HubToPeer, { type: "welcome" }>,
  "iceServers" | "iceExpiresAt" | "icePolicy" | "relayBudget"
>;

export type IceAreaDeps = {
  readonly servers: IceServers;
  readonly policies: RoomPolicies;
  readonly meter: RelayMeter;
  /** Per key: credentials are to be asked for twice in their life, not for each connection. */
  readonly mintLimit: RateLimit;
  readonly log: Log;
};

type IceRoute = Extract<RouteName, "iceServers" | "setRoomPolicy" | "relayUsage">;

export type IceArea = {
  readonly handlers: Handlers<IceRoute>;
  /** For the welcome of a peer; throws what reading the room's document throws. */
  factsFor(room: RoomId, peer: PeerId): Promise<IceFacts>;
};

/** Composes the area; does no I/O. */
export function createIceArea(deps: IceAreaDeps): IceArea {
  const { servers, policies, meter, log } = deps;
  return {
    handlers: {
      iceServers: async ({ params: { room }, caller }) => {
        const user = keyOf(caller);
        deps.mintLimit.take(`${room}/${user}`);
        const { icePolicy } = await policies.of(room);
        return { ...servers.mint(room, user), icePolicy };
      },

      setRoomPolicy: async ({ params: { room }, body }) => {
        const policy = await policies.set(room, body);
        log("info", "room policy set", { room, ...policy });
        return policy;
      },

      relayUsage: async ({ params: { room }, query: { day } }) => meter.usage(room, day),
    },

    async factsFor(room, peer) {
      const relayBudget = await meter.budgetOf(room);
      const { iceServers, expiresAt } = servers.mint(room, peer);
      // The last, so that no change of it comes between this and the welcome.
      const { icePolicy } = await policies.of(room);
      return {
        iceServers,
        icePolicy,
        ...(expiresAt === undefined ? {} : { iceExpiresAt: expiresAt }),
        ...(relayBudget === undefined ? {} : { relayBudget }),
      };
    },
  };
}

/** Thumbprint of the caller's key; an owner without one is the room's owner and nobody else. */
function keyOf(caller: Caller | undefined): string {
  if (caller === undefined) throw new WaybillError("internal", "a route lacks its caller");
  return caller.jkt ?? caller.proofKey ?? caller.subject;
}

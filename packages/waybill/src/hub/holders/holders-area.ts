// Tells readers of an artifact which peers of the room serve it. The only answer with tokens of data servers (I10).
import type { RoomId } from "@waybill/sdk/protocol";
import type { Handlers } from "../http/handler.ts";
import type { ConnectedPeer } from "../signaling/router.ts";
import { holdersOf } from "./holders.ts";

export function createHoldersArea(deps: {
  readonly peers: (room: RoomId) => readonly ConnectedPeer[];
}): { readonly handlers: Handlers<"showHolders"> } {
  return {
    handlers: {
      showHolders: async ({ params: { room, artifact }, query: { without }, remote }) => ({
        holders: holdersOf(deps.peers(room), artifact, { remote, without }),
      }),
    },
  };
}

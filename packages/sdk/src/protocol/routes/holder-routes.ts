// Who serves an artifact to members of the room (docs/protocol/data-server.md).
import * as v from "valibot";
import { Holder } from "../data-server.ts";
import { ArtifactId, PeerId, RoomId } from "../ids.ts";
import { ALL, route } from "./route.ts";

export const HOLDER_ROUTES = {
  showHolders: route({
    method: "GET",
    path: "/v1/rooms/:room/artifacts/:artifact/holders",
    roles: ALL,
    summary:
      "Peers that serve an artifact or would fetch it, nearest first, with the tokens they want",
    params: v.object({ room: RoomId, artifact: ArtifactId }),
    /** `without`: the caller's own peer. */
    query: v.object({ without: v.optional(PeerId) }),
    response: v.object({ holders: v.array(Holder) }),
  }),
} as const;

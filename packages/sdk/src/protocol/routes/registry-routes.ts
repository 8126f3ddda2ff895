// Looking through a room's registry, and making it again from what lies beside it.
import * as v from "valibot";
import { ModelId, RoomId } from "../ids.ts";
import { RegistryReport } from "../registry-journal.ts";
import { OWNER, route } from "./route.ts";

const inRoom = v.object({ room: RoomId });

export const REGISTRY_ROUTES = {
  checkRegistry: route({
    method: "GET",
    path: "/v1/rooms/:room/registry/check",
    roles: OWNER,
    summary:
      "Whether the registry is whole, its journal leads to it, and its models' bytes are there",
    params: inRoom,
    response: RegistryReport,
  }),
  rebuildRegistry: route({
    method: "POST",
    path: "/v1/rooms/:room/registry/rebuild",
    roles: OWNER,
    summary:
      "Make a damaged registry again from snapshots and journal, in one conditional write; the damaged object is kept aside",
    params: inRoom,
    body: v.object({
      dryRun: v.optional(v.boolean(), false),
      /** Enters models whose bytes are there and that nothing names, tagged `recovered`. */
      adopt: v.optional(v.boolean(), false),
    }),
    response: v.object({
      /** Of the registry as it is afterwards, or would be. */
      report: RegistryReport,
      /** Whether it was written. */
      written: v.boolean(),
      adopted: v.array(ModelId),
      /** Where the damaged object was copied to. */
      kept: v.optional(v.string()),
    }),
  }),
} as const;

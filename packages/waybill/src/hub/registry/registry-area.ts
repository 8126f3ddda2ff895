// Routes of a room's model registry. What an edit does is decided by the pure functions of @waybill/sdk/registry.
import { type RoomId, WaybillError } from "@waybill/sdk/protocol";
import { aliasesOf, resolveModel } from "@waybill/sdk/registry";
import type { Caller, Handlers } from "../http/handler.ts";
import { heldJob } from "../jobs/fence.ts";
import { jobIdOf } from "../jobs/job-keys.ts";
import { type LineageRoute, lineageHandlers } from "./lineage-handlers.ts";
import { reserveModelId } from "./model-ids.ts";
import { type NamingRoute, namingHandlers } from "./naming-handlers.ts";
import { type PublishingDeps, type PublishingRoute, publishingHandlers } from "./publishing.ts";
import { RegistryWriter, readRegistry } from "./room-registry.ts";

export type RegistryAreaDeps = Omit<PublishingDeps, "writer">;

export type RegistryRoute =
  | LineageRoute
  | "readRegistry"
  | "showModel"
  | "reserveModel"
  | PublishingRoute
  | NamingRoute;

export type RegistryArea = { readonly handlers: Handlers<RegistryRoute> };

/** Makes the handlers; they hold no state but edits under way. */
export function createRegistryArea(deps: RegistryAreaDeps): RegistryArea {
  const { documents, clock } = deps;
  const writer = new RegistryWriter(documents);

  /** A worker reserves for the jobs it has, and for nothing else. */
  async function assertMayReserve(room: RoomId, owner: string, caller: Caller): Promise<void> {
    if (caller.role !== "worker") return;
    const job = jobIdOf(owner);
    if (job === undefined) {
      throw new WaybillError("forbidden", "a worker reserves model ids for its jobs only", {
        hint: "name the job as the owner",
      });
    }
    await heldJob(documents, { room, job, caller }, clock());
  }

  return {
    handlers: {
      ...lineageHandlers(documents),

      readRegistry: ({ params }) => readRegistry(documents, params.room),

      async showModel({ params }) {
        const registry = await readRegistry(documents, params.room);
        const model = resolveModel(registry, params.model);
        return { model, aliases: aliasesOf(registry, model.id) };
      },

      async reserveModel({ params: { room }, body, caller }) {
        await assertMayReserve(room, body.owner, known(caller));
        return { model: await reserveModelId(documents, room, body, clock()) };
      },

      ...publishingHandlers({ ...deps, writer }),

      ...namingHandlers({ documents, writer, clock }),
    },
  };
}

/** The frame authorises before it calls; a missing caller is a mistake in the route table. */
function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "route has no caller");
  return caller;
}

// Routes by which models enter the registry, alone or as a pipeline with its parts. Everybody in the room is told of what has
// entered, once it has (docs/protocol/registry.md §5).
import type {
  HubToPeer,
  ModelEntry,
  ModelPublication,
  Registry,
  RoomId,
} from "@waybill/sdk/protocol";
import { WaybillError } from "@waybill/sdk/protocol";
import { type Editor, addModels } from "@waybill/sdk/registry";
import type { Caller, Handlers } from "../http/handler.ts";
import type { Clock } from "../log.ts";
import { type PublicationDeps, entryOfPublication } from "./publication.ts";
import type { RegistryWriter } from "./room-registry.ts";

export type PublishingDeps = PublicationDeps & {
  readonly writer: RegistryWriter;
  readonly clock: Clock;
  /** Tells every peer of a room. */
  readonly announce: (room: RoomId, message: ModelPublished) => void;
};

export type ModelPublished = Extract<HubToPeer, { type: "model.published" }>;

export type PublishingRoute = "publishModel" | "publishModels";

export function publishingHandlers(deps: PublishingDeps): Handlers<PublishingRoute> {
  const { writer, clock, announce } = deps;

  async function publish(
    room: RoomId,
    publications: readonly ModelPublication[],
    caller: Caller,
  ): Promise<readonly ModelEntry[]> {
    const nowMs = clock();
    const who = caller.subject;
    const by: Editor = {
      who,
      owner: caller.role === "owner",
      when: new Date(nowMs).toISOString(),
    };
    const entries = await Promise.all(
      publications.map((one) => entryOfPublication(deps, room, one, caller, nowMs)),
    );
    let before: Registry["models"] = {};
    const published = await writer.edit(room, (registry) => {
      before = registry.models;
      return addModels(registry, entries, by);
    });
    for (const entry of published) {
      if (!Object.hasOwn(before, entry.id)) announce(room, publishedOf(entry));
    }
    return published;
  }

  return {
    async publishModel({ params: { room }, body, caller }) {
      const entry = (await publish(room, [body], known(caller))).at(-1);
      if (entry === undefined) throw new WaybillError("internal", "published nothing");
      return entry;
    },

    async publishModels({ params: { room }, body: { models }, caller }) {
      return { models: [...(await publish(room, models, known(caller)))] };
    },
  };
}

function publishedOf(entry: ModelEntry): ModelPublished {
  const { id, model_type, artifact, alias, storage, training } = entry;
  return {
    type: "model.published",
    model: id,
    modelType: model_type,
    artifact,
    bytes: storage.size_bytes,
    ...(alias === undefined ? {} : { alias }),
    ...(training.job === undefined ? {} : { job: training.job }),
    ...(training.worker === undefined ? {} : { worker: training.worker }),
  };
}

/** The frame authorises before it calls; a missing caller is a mistake in the route table. */
function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "route has no caller");
  return caller;
}

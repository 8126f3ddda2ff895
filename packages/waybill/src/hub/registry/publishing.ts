// Routes by which models enter the registry, alone or as a pipeline with its parts. Everybody in the room is told of what has
// entered, once it has (docs/protocol/registry.md §5).
import type { ModelEntry, ModelPublication, Registry, RoomId } from "@waybill/sdk/protocol";
import { JobDoc, WaybillError } from "@waybill/sdk/protocol";
import {
  type Editor,
  type ModelPublished,
  addModels,
  publishedNotice,
} from "@waybill/sdk/registry";
import type { Caller, Handlers } from "../http/handler.ts";
import { jobKey } from "../jobs/job-keys.ts";
import type { Clock } from "../log.ts";
import { type PublicationDeps, entryOfPublication } from "./publication.ts";
import type { RegistryWriter } from "./room-registry.ts";

export type PublishingDeps = PublicationDeps & {
  readonly writer: RegistryWriter;
  readonly clock: Clock;
  /** Tells every peer of a room. */
  readonly announce: (room: RoomId, message: ModelPublished) => void;
};

export type PublishingRoute = "publishModel" | "publishModels";

export function publishingHandlers(deps: PublishingDeps): Handlers<PublishingRoute> {
  const { writer, clock, announce } = deps;

  async function publish(
    room: RoomId,
    publications: readonly ModelPublication[],
    caller: Caller,
  ): Promise<readonly ModelEntry[]> {
    const nowMs = clock();
    const entries = await Promise.all(
      publications.map((one) => entryOfPublication(deps, room, one, caller, nowMs)),
    );
    const by = await editorOf(room, entries, caller, nowMs);
    let before: Registry["models"] = {};
    const published = await writer.edit(room, (registry) => {
      before = registry.models;
      return addModels(registry, entries, by);
    });
    for (const entry of published) {
      if (!Object.hasOwn(before, entry.id)) announce(room, publishedNotice(entry));
    }
    return published;
  }

  /** A worker acts for whoever submitted its job: what the owner asked for may move a protected alias. */
  async function editorOf(
    room: RoomId,
    entries: readonly ModelEntry[],
    { subject: who, role }: Caller,
    nowMs: number,
  ): Promise<Editor> {
    const when = new Date(nowMs).toISOString();
    const named = entries.find(({ alias }) => alias !== undefined)?.training.job;
    if (role !== "worker" || named === undefined) return { who, owner: role === "owner", when };
    // Who submitted a job never changes: memory will do.
    const maxAgeMs = Number.POSITIVE_INFINITY;
    const stored = await deps.documents.read(JobDoc, jobKey(room, named), { maxAgeMs });
    const by = stored?.doc.submittedBy.slice(0, 64);
    return {
      who,
      ...(by === undefined || by === "" ? {} : { by }),
      owner: stored?.doc.submitterRole === "owner",
      when,
    };
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

/** The frame authorises before it calls; a missing caller is a mistake in the route table. */
function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "route has no caller");
  return caller;
}

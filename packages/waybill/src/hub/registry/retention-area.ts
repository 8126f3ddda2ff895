// Routes of retention: a room's rules, pins, removals and collections. What they do is decided by pure functions of
// @waybill/sdk/registry; who may call is in the route table.
import {
  type ArtifactRecord,
  type ModelId,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";
import {
  type Editor,
  askRemoval,
  changeRetention,
  pinModel,
  removeModels,
  restoreModel,
  unpinModel,
} from "@waybill/sdk/registry";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Caller, Handlers } from "../http/handler.ts";
import type { Place } from "../storage/storage.ts";
import { Collection, type CollectionDeps } from "./collection.ts";
import { ModelBytes } from "./model-bytes.ts";
import { Purges } from "./purges.ts";
import { RegistryWriter, readRegistry } from "./room-registry.ts";

export type RetentionAreaDeps = Omit<CollectionDeps, "purges" | "bytes" | "writer"> & {
  /** Where models lie. */
  readonly place: Place;
  readonly records: ArtifactRecords;
  /** The record of the upload that has filled a model's own folder. */
  readonly filled: (room: RoomId, model: ModelId) => Promise<ArtifactRecord | undefined>;
};

export type RetentionRoute =
  | "showRetention"
  | "setRetention"
  | "pinModel"
  | "unpinModel"
  | "removeModels"
  | "restoreModel"
  | "listRemoved"
  | "planGc"
  | "runGc";

export type RetentionArea = {
  readonly handlers: Handlers<RetentionRoute>;
  /** A bounded piece of a room's collection, where its rules ask for one. */
  sweep(room: RoomId): Promise<void>;
};

/** Makes the handlers; they hold no state but when folders were listed. */
export function createRetentionArea(deps: RetentionAreaDeps): RetentionArea {
  const { documents, clock, log } = deps;
  const writer = new RegistryWriter(documents);
  const bytes = new ModelBytes(deps);
  const purges = new Purges({ ...deps, writer, bytes });
  const collection = new Collection({ ...deps, writer, bytes, purges });
  const editorOf = (caller: Caller | undefined, by?: string): Editor => ({
    who: known(caller).subject,
    by,
    owner: known(caller).role === "owner",
    when: new Date(clock()).toISOString(),
  });

  return {
    handlers: {
      showRetention: async ({ params }) => (await readRegistry(documents, params.room)).retention,

      async setRetention({ params: { room }, body, caller }) {
        const rules = await writer.edit(room, (registry) => changeRetention(registry, body));
        const { per_type: perType, ...numbers } = rules;
        const facts = { ...numbers, per_type: JSON.stringify(perType) };
        log("info", "retention rules set", { room, by: known(caller).subject, ...facts });
        return rules;
      },

      async pinModel({ params: { room, model }, body, caller }) {
        const by = editorOf(caller, body.by);
        return writer.edit(room, (registry) => pinModel(registry, model, body.why, by));
      },

      async unpinModel({ params: { room, model }, body, caller }) {
        const entry = await writer.edit(room, (registry) => unpinModel(registry, model));
        const facts = { room, model: entry.id, by: known(caller).subject, why: body.why };
        log("info", "model unpinned", facts);
        return entry;
      },

      async removeModels({ params: { room }, body, caller }) {
        const by = editorOf(caller, body.by);
        if (body.dryRun) {
          const registry = await readRegistry(documents, room);
          const graceMs = registry.retention.grace_hours * 3_600_000;
          const bytesUntil = new Date(clock() + graceMs).toISOString();
          const asked = askRemoval(registry, body.models);
          return {
            removals: asked.map(({ entry, heldBy }) => ({
              model: entry.id,
              modelType: entry.model_type,
              bytes: entry.storage.size_bytes,
              bytesUntil,
              heldBy: [...heldBy],
            })),
          };
        }
        const removed = await writer.edit(room, (registry) => removeModels(registry, body, by));
        for (const { entry, bytes_until } of removed) {
          const facts = { room, model: entry.id, by: by.who, restorableUntil: bytes_until };
          log("info", "model removed", { ...facts, why: body.why });
        }
        return {
          removals: removed.map(({ entry, bytes_until }) => ({
            model: entry.id,
            modelType: entry.model_type,
            bytes: entry.storage.size_bytes,
            bytesUntil: bytes_until,
            heldBy: [],
          })),
        };
      },

      async restoreModel({ params: { room, model }, body, caller }) {
        const by = editorOf(caller, body.by);
        const entry = await writer.edit(room, (registry) => restoreModel(registry, model, by));
        log("info", "model restored", { room, model, by: by.who });
        return entry;
      },

      async listRemoved({ params }) {
        const { tombstones } = await readRegistry(documents, params.room);
        const newest = Object.values(tombstones).toSorted((a, b) => b.when.localeCompare(a.when));
        return { removed: newest };
      },

      planGc: ({ params }) => collection.plan(params.room),
      runGc: ({ params }) => collection.run(params.room),
    },
    sweep: (room) => collection.sweep(room),
  };
}

/** The frame authorises before it calls; a missing caller is a mistake in the route table. */
function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "route has no caller");
  return caller;
}

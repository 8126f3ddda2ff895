// Routes by which people find models and name them: lists, aliases with their history, tags, notes. What each does is
// decided by the pure functions of @waybill/sdk/registry (docs/protocol/registry.md, Names to Lists).
import { LIMITS, WaybillError, readMetricFilters } from "@waybill/sdk/protocol";
import {
  type Editor,
  aliasHistory,
  editTags,
  listAliases,
  moveAlias,
  protectAlias,
  queryModels,
  removeAlias,
  rollbackAlias,
  setNote,
  tagModels,
} from "@waybill/sdk/registry";
import type { Documents } from "../bucket/documents.ts";
import type { Caller, Handlers } from "../http/handler.ts";
import type { Clock } from "../log.ts";
import { type RegistryWriter, readRegistry } from "./room-registry.ts";

export type NamingDeps = {
  readonly documents: Documents;
  readonly writer: RegistryWriter;
  readonly clock: Clock;
};

export type NamingRoute =
  | "listModels"
  | "listAliases"
  | "setAlias"
  | "removeAlias"
  | "rollbackAlias"
  | "aliasHistory"
  | "protectAlias"
  | "editTags"
  | "tagModels"
  | "setNote";

/** Rows of an answer when the caller does not say. */
const DEFAULT_LIMIT = 100;

export function namingHandlers({ documents, writer, clock }: NamingDeps): Handlers<NamingRoute> {
  const editorOf = (caller: Caller | undefined, by?: string): Editor => {
    // The frame authorises before it calls.
    if (caller === undefined) throw new WaybillError("internal", "route has no caller");
    const when = new Date(clock()).toISOString();
    return { who: caller.subject, by, owner: caller.role === "owner", when };
  };

  return {
    async listModels({ params, query: { metrics, limit = DEFAULT_LIMIT, cursor, ...query } }) {
      const registry = await readRegistry(documents, params.room);
      return queryModels(
        registry,
        {
          ...query,
          ...(metrics === undefined ? {} : { metrics: readMetricFilters(metrics, "metrics") }),
        },
        { limit, cursor, maxBytes: LIMITS.httpBodyBytes },
      );
    },

    async listAliases({ params, query: { alias, after, limit = DEFAULT_LIMIT } }) {
      const registry = await readRegistry(documents, params.room);
      return listAliases(registry, { pattern: alias, after, limit });
    },

    async aliasHistory({ params: { room, alias }, query: { before, limit = DEFAULT_LIMIT } }) {
      return aliasHistory(await readRegistry(documents, room), alias, { before, limit });
    },

    setAlias({ params: { room, alias }, body: { by, ...body }, caller }) {
      const editor = editorOf(caller, by);
      return writer.edit(room, (registry) => moveAlias(registry, { alias, ...body }, editor));
    },

    removeAlias({ params: { room, alias }, query: { by, ...query }, caller }) {
      const editor = editorOf(caller, by);
      return writer.edit(room, (registry) => removeAlias(registry, { alias, ...query }, editor));
    },

    rollbackAlias({ params: { room, alias }, body: { by, ...body }, caller }) {
      const editor = editorOf(caller, by);
      return writer.edit(room, (registry) => rollbackAlias(registry, { alias, ...body }, editor));
    },

    protectAlias({ params: { room, alias }, body: { by, ...body }, caller }) {
      const editor = editorOf(caller, by);
      return writer.edit(room, (registry) => protectAlias(registry, { alias, ...body }, editor));
    },

    editTags: ({ params: { room, model }, body }) =>
      writer.edit(room, (registry) => editTags(registry, model, body)),

    tagModels: async ({ params: { room }, body: { models, ...edit } }) => ({
      models: await writer.edit(room, (registry) => tagModels(registry, models, edit)),
    }),

    setNote({ params: { room, model }, body: { text, by }, caller }) {
      const editor = editorOf(caller, by);
      return writer.edit(room, (registry) => setNote(registry, model, text, editor));
    },
  };
}

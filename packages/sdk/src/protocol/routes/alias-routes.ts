// What people call models: aliases with their history, tags, notes.
import * as v from "valibot";
import { Label } from "../access.ts";
import { Alias, ModelId, ModelRef, RoomId, Tag } from "../ids.ts";
import { MetricGate } from "../metric-condition.ts";
import { AliasInfo, AliasMoved, AliasRecord, AliasState } from "../naming.ts";
import { ModelEntry, Reason } from "../registry.ts";
import { LIST_LIMIT, LimitText, Pattern } from "./listing.ts";
import { ALL, OWNER, WRITERS, route } from "./route.ts";

const inRoom = v.object({ room: RoomId });
const ofModel = v.object({ room: RoomId, model: ModelRef });
const ofAlias = v.object({ room: RoomId, alias: Alias });
/** What the caller calls themselves; who it is, the hub knows. */
const by = v.optional(Label);
const why = v.optional(Reason);
const Tags = v.pipe(v.array(Tag), v.maxLength(256));

export const ALIAS_ROUTES = {
  listAliases: route({
    method: "GET",
    path: "/v1/rooms/:room/aliases",
    roles: ALL,
    summary: "Aliases by name, with where they point and their last move",
    params: inRoom,
    query: v.object({
      /** `*` stands for any characters, `?` for one. */
      alias: v.optional(Pattern),
      /** Only names after this one. */
      after: v.optional(ModelRef),
      limit: v.optional(LimitText),
    }),
    response: v.object({ aliases: v.array(AliasInfo), more: v.boolean() }),
  }),
  setAlias: route({
    method: "PUT",
    path: "/v1/rooms/:room/aliases/:alias",
    roles: WRITERS,
    summary: "Point an alias at a model",
    params: ofAlias,
    body: v.object({
      model: ModelRef,
      /** `conflict` unless it points there now; `none`: unless it points at nothing. */
      expect: v.optional(AliasState),
      /** `conflict` unless this holds, such as `val_loss < current`. */
      if: v.optional(MetricGate),
      why,
      by,
    }),
    response: AliasMoved,
  }),
  removeAlias: route({
    method: "DELETE",
    path: "/v1/rooms/:room/aliases/:alias",
    roles: WRITERS,
    summary: "Remove an alias; its history stays",
    params: ofAlias,
    query: v.object({ expect: v.optional(ModelId), why, by }),
    response: v.object({ alias: Alias, from: ModelId }),
  }),
  rollbackAlias: route({
    method: "POST",
    path: "/v1/rooms/:room/aliases/:alias/rollback",
    roles: WRITERS,
    summary:
      "Move an alias back to where it pointed before its last move, which is the one the caller saw",
    params: ofAlias,
    body: v.object({
      /** Where the last move led. */
      expect: AliasState,
      /** Where it came from. */
      to: ModelId,
      why,
      by,
    }),
    response: AliasMoved,
  }),
  aliasHistory: route({
    method: "GET",
    path: "/v1/rooms/:room/aliases/:alias/history",
    roles: ALL,
    summary: "Every move of an alias, newest first",
    params: ofAlias,
    query: v.object({
      /** Only records with a smaller `n`. */
      before: v.optional(v.pipe(v.string(), v.regex(/^\d{1,9}$/), v.transform(Number))),
      limit: v.optional(LimitText),
    }),
    response: v.object({
      /** Where it points now. */
      model: v.optional(ModelId),
      protected: v.boolean(),
      moves: v.array(AliasRecord),
      more: v.boolean(),
    }),
  }),
  protectAlias: route({
    method: "PUT",
    path: "/v1/rooms/:room/aliases/:alias/protection",
    roles: OWNER,
    summary: "Leave an alias to the owner alone, or to every member again",
    params: ofAlias,
    body: v.object({ protected: v.boolean(), why, by }),
    response: v.object({ alias: Alias, protected: v.boolean(), model: v.optional(ModelId) }),
  }),
  editTags: route({
    method: "POST",
    path: "/v1/rooms/:room/models/:model/tags",
    roles: WRITERS,
    summary: "Add and remove tags of a model",
    params: ofModel,
    body: v.object({ add: Tags, remove: Tags }),
    response: ModelEntry,
  }),
  tagModels: route({
    method: "POST",
    path: "/v1/rooms/:room/model-tags",
    roles: WRITERS,
    summary: "Add and remove tags of several models: of all or, when one is not there, of none",
    params: inRoom,
    body: v.object({
      models: v.pipe(v.array(ModelRef), v.minLength(1), v.maxLength(LIST_LIMIT)),
      add: Tags,
      remove: Tags,
    }),
    /** In the order asked, each model once. */
    response: v.object({
      models: v.array(v.object({ id: ModelId, tags: v.array(Tag), changed: v.boolean() })),
    }),
  }),
  setNote: route({
    method: "PUT",
    path: "/v1/rooms/:room/models/:model/note",
    roles: WRITERS,
    summary: "Replace a model's notes; an empty text clears them",
    params: ofModel,
    body: v.object({ text: v.pipe(v.string(), v.maxLength(16_384)), by }),
    response: v.object({
      model: ModelEntry,
      /** What they were. */
      before: v.optional(v.string()),
    }),
  }),
} as const;

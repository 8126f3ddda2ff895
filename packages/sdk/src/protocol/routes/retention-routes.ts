// Retention: a room's rules, pins, removed models, and the collection of what is left over.
import * as v from "valibot";
import { Label } from "../access.ts";
import { ModelId, ModelRef, ModelType, RoomId } from "../ids.ts";
import { ModelEntry, Reason, Retention, Tombstone } from "../registry.ts";
import { GcReport, Removal } from "../retention.ts";
import { ALL, OWNER, WRITERS, route } from "./route.ts";

const inRoom = v.object({ room: RoomId });
const ofModel = v.object({ room: RoomId, model: ModelRef });
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Why = v.pipe(Reason, v.minLength(1, "say why"));

/** Changes to a room's rules: `null` takes one away, what is absent stays. */
export const RetentionChange = v.object({
  /** Takes all away first. */
  clear: v.optional(v.boolean(), false),
  keep_per_type: v.optional(v.nullable(Count)),
  per_type: v.optional(v.record(ModelType, v.nullable(Count)), {}),
  untagged_days: v.optional(v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(36_500)))),
  grace_hours: v.optional(v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(87_600)))),
});
export type RetentionChange = v.InferOutput<typeof RetentionChange>;

export const RETENTION_ROUTES = {
  showRetention: route({
    method: "GET",
    path: "/v1/rooms/:room/retention",
    roles: ALL,
    summary: "Which models the room keeps",
    params: inRoom,
    response: Retention,
  }),
  setRetention: route({
    method: "PUT",
    path: "/v1/rooms/:room/retention",
    roles: OWNER,
    summary: "Change which models the room keeps",
    params: inRoom,
    body: RetentionChange,
    response: Retention,
  }),
  pinModel: route({
    method: "PUT",
    path: "/v1/rooms/:room/models/:model/pin",
    roles: WRITERS,
    summary: "Keep a model whatever the rules say",
    params: ofModel,
    body: v.object({ why: v.optional(Reason), by: v.optional(Label) }),
    response: ModelEntry,
  }),
  unpinModel: route({
    method: "POST",
    path: "/v1/rooms/:room/models/:model/unpin",
    roles: WRITERS,
    summary: "Leave a model to the rules again",
    params: ofModel,
    body: v.object({ why: v.optional(Reason) }),
    response: ModelEntry,
  }),
  removeModels: route({
    method: "POST",
    path: "/v1/rooms/:room/removals",
    roles: WRITERS,
    summary:
      "Take models out of the registry, all or none; their bytes stay for the grace period, and until then they can be restored",
    params: inRoom,
    body: v.object({
      models: v.pipe(v.array(ModelRef), v.minLength(1), v.maxLength(256)),
      why: Why,
      /** What the caller calls itself. */
      by: v.optional(Label),
      dryRun: v.optional(v.boolean(), false),
    }),
    response: v.object({ removals: v.array(Removal) }),
  }),
  restoreModel: route({
    method: "POST",
    path: "/v1/rooms/:room/removals/:model/restore",
    roles: WRITERS,
    summary: "Bring a removed model back while its bytes are there",
    params: v.object({ room: RoomId, model: ModelId }),
    body: v.object({ by: v.optional(Label) }),
    response: ModelEntry,
  }),
  listRemoved: route({
    method: "GET",
    path: "/v1/rooms/:room/removals",
    roles: ALL,
    summary: "Removed models: what each was, who removed it, when and why",
    params: inRoom,
    response: v.object({ removed: v.array(Tombstone) }),
  }),
  planGc: route({
    method: "GET",
    path: "/v1/rooms/:room/gc",
    roles: WRITERS,
    summary: "What a collection would remove and what it would keep, and why",
    params: inRoom,
    response: GcReport,
  }),
  runGc: route({
    method: "POST",
    path: "/v1/rooms/:room/gc",
    roles: WRITERS,
    summary: "Collect: answers what went; call again while there is more",
    params: inRoom,
    response: GcReport,
  }),
} as const;

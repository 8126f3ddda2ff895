// What retention removes and keeps, as hubs tell it (docs/protocol/registry.md, "Keeping and removing").
import * as v from "valibot";
import { ByteCount, ModelId, ModelType, Timestamp } from "./ids.ts";
import { Retention } from "./registry.ts";

/**
 * `model`: leaves the registry, and can be restored until `until`. `bytes`: of a removed model whose time is over. `folder`: bytes
 * below `models/` that nobody published. `checkpoint`: of a job that is over. `upload`: a push that was never completed.
 */
const GcKind = v.picklist(["model", "bytes", "folder", "checkpoint", "upload"]);

/** Something that goes. */
export const GcItem = v.object({
  kind: GcKind,
  /** A model's id, a folder below `models/`, a job's id, an upload's id. */
  name: v.string(),
  modelType: v.optional(ModelType),
  bytes: ByteCount,
  /** Whole sentences are not needed: `12 of type unet are newer, and 5 are kept`. */
  why: v.string(),
  /** Until when a removed model can be restored. */
  until: v.optional(Timestamp),
});
export type GcItem = v.InferOutput<typeof GcItem>;

/** A model that stays, or a removed one whose bytes stay for now. */
export const GcKept = v.object({
  kind: GcKind,
  name: v.string(),
  modelType: v.optional(ModelType),
  bytes: ByteCount,
  /** Every reason. */
  why: v.array(v.string()),
  until: v.optional(Timestamp),
});
export type GcKept = v.InferOutput<typeof GcKept>;

export const GcReport = v.object({
  at: Timestamp,
  rules: Retention,
  goes: v.array(GcItem),
  kept: v.array(GcKept),
  /** Whether another call would find more: one call does a bounded piece of work. */
  more: v.boolean(),
});
export type GcReport = v.InferOutput<typeof GcReport>;

/** A model of a removal that was asked for. */
export const Removal = v.object({
  model: ModelId,
  modelType: ModelType,
  bytes: ByteCount,
  /** Until when it can be restored. */
  bytesUntil: Timestamp,
  /** What keeps it; only a dry run answers any. */
  heldBy: v.array(v.string()),
});
export type Removal = v.InferOutput<typeof Removal>;

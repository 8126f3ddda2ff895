// What is asked and answered about the names of a room's models (docs/protocol/registry.md, Names).
import * as v from "valibot";
import { Alias, ModelId, ModelType } from "./ids.ts";
import { AliasMove, ModelEntry } from "./registry.ts";

/** Where an alias must point for a move to happen: at a model, or nowhere. */
export const AliasState = v.union([v.literal("none"), ModelId], "neither a model id nor none");
export type AliasState = v.InferOutput<typeof AliasState>;

/** What a move did. */
export const AliasMoved = v.object({
  alias: Alias,
  model: ModelId,
  /** Where it pointed before; `model` itself when nothing changed. */
  from: v.optional(ModelId),
  /** Of a move with a gate: why that held. */
  gate: v.optional(v.string()),
});
export type AliasMoved = v.InferOutput<typeof AliasMoved>;

/** An alias as a list shows it. */
export const AliasInfo = v.object({
  /** A user alias or `latest-{type}`. */
  alias: v.string(),
  /** Absent: protected, and pointing at nothing now. */
  model: v.optional(ModelId),
  model_type: v.optional(ModelType),
  /** Kept by Waybill itself. */
  automatic: v.boolean(),
  protected: v.boolean(),
  /** Its last move. */
  moved: v.optional(v.omit(AliasMove, ["alias"])),
});
export type AliasInfo = v.InferOutput<typeof AliasInfo>;

/** One record of an alias's history. */
export const AliasRecord = v.object({
  /** Counts the records of this alias, from 1. */
  n: v.number(),
  ...AliasMove.entries,
});
export type AliasRecord = v.InferOutput<typeof AliasRecord>;

/** A model with every name it has, automatic ones included. */
export const ModelRow = v.object({ model: ModelEntry, aliases: v.array(v.string()) });
export type ModelRow = v.InferOutput<typeof ModelRow>;

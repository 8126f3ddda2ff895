// Where models come from and what came of them (docs/protocol/registry.md, Lineage).
import * as v from "valibot";
import { ArtifactId, ArtifactName, JobId, ModelId, ModelType, Timestamp } from "./ids.ts";
import { AliasMove, ModelEntry, Tombstone } from "./registry.ts";

export const LineageNode = v.variant("kind", [
  v.object({
    /** `model:{id}`, `dataset:{artifact}`, `code:{artifact}`, `job:{id}`. */
    key: v.string(),
    kind: v.literal("model"),
    id: ModelId,
    /** Absent when the registry does not know the model: an entry names it, and that is all. */
    model_type: v.optional(ModelType),
    aliases: v.array(v.string()),
    trained_by: v.optional(v.string()),
    trained_at: v.optional(Timestamp),
    imported: v.optional(v.object({ format: v.string(), from: v.string() })),
    /** State of its tombstone. */
    removed: v.optional(v.picklist(["held", "purging", "purged"])),
    /** It has ancestors or descendants that lie deeper than was asked. */
    more: v.optional(v.literal(true)),
  }),
  v.object({
    key: v.string(),
    kind: v.literal("dataset"),
    id: ArtifactId,
    name: v.optional(ArtifactName),
  }),
  v.object({ key: v.string(), kind: v.literal("code"), id: ArtifactId }),
  v.object({ key: v.string(), kind: v.literal("job"), id: JobId }),
]);
export type LineageNode = v.InferOutput<typeof LineageNode>;
export type LineageModel = Extract<LineageNode, { kind: "model" }>;

/** `parent`: `to` was fine-tuned from `from`. `part`: `from` is a part of the pipeline `to`. */
export const LineageEdge = v.object({
  from: v.string(),
  to: v.string(),
  kind: v.picklist(["parent", "part", "dataset", "code", "job"]),
});
export type LineageEdge = v.InferOutput<typeof LineageEdge>;

export const Lineage = v.object({
  /** Key of the model that was asked for. */
  root: v.string(),
  nodes: v.array(LineageNode),
  /** From what was there before to what was made of it. */
  edges: v.array(LineageEdge),
});
export type Lineage = v.InferOutput<typeof Lineage>;

/** Everything the registry says of one model, removed ones included. */
export const ModelDetails = v.object({
  model: ModelEntry,
  aliases: v.array(v.string()),
  protected_aliases: v.array(v.string()),
  /** Every move that led to the model or away from it, and of the aliases it has now; oldest first. */
  alias_history: v.array(AliasMove),
  tombstone: v.optional(v.omit(Tombstone, ["entry"])),
  /** Models fine-tuned from it. */
  children: v.array(ModelId),
  /** Pipelines it is a part of. */
  part_of: v.array(ModelId),
});
export type ModelDetails = v.InferOutput<typeof ModelDetails>;

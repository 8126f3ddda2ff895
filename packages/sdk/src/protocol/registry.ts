// A room's registry document, `{room}/manifest.json` (docs/protocol/registry.md).
import * as v from "valibot";
import {
  Alias,
  ArtifactId,
  ArtifactName,
  ByteCount,
  JobId,
  ModelId,
  ModelType,
  PeerId,
  RoomId,
  Tag,
  Timestamp,
} from "./ids.ts";
import { REGISTRY_FORMAT_VERSION } from "./version.ts";

const Metrics = v.record(v.string(), v.unknown());

export const ModelEntry = v.object({
  id: ModelId,
  alias: v.optional(Alias),
  model_type: ModelType,
  tags: v.array(Tag),
  notes: v.optional(v.string()),
  artifact: ArtifactId,
  storage: v.object({
    s3_path: v.string(),
    size_bytes: ByteCount,
    files: v.array(v.string()),
  }),
  training: v.object({
    job: v.optional(JobId),
    dataset: v.optional(ArtifactId),
    dataset_name: v.optional(ArtifactName),
    parent_model: v.optional(ModelId),
    trained_by: v.string(),
    trained_at: Timestamp,
    worker: v.optional(PeerId),
    stopped_early: v.optional(v.boolean()),
    metrics: Metrics,
    config: Metrics,
  }),
  availability: v.object({
    in_s3: v.boolean(),
    torrent: v.optional(v.object({ magnet_link: v.string(), seeders: v.number() })),
    cached_on_workers: v.array(v.object({ worker_id: PeerId, can_serve_p2p: v.boolean() })),
  }),
});
export type ModelEntry = v.InferOutput<typeof ModelEntry>;

export const AliasMove = v.object({
  alias: Alias,
  from: v.optional(ModelId),
  /** Absent when the alias was removed. */
  to: v.optional(ModelId),
  who: v.string(),
  when: Timestamp,
  why: v.optional(v.string()),
});
export type AliasMove = v.InferOutput<typeof AliasMove>;

export const Registry = v.object({
  format: v.literal(REGISTRY_FORMAT_VERSION),
  room: RoomId,
  models: v.record(v.string(), ModelEntry),
  /** User aliases and the automatic `latest-{type}`. */
  aliases: v.record(v.string(), ModelId),
  protected_aliases: v.array(Alias),
  alias_history: v.array(AliasMove),
});
export type Registry = v.InferOutput<typeof Registry>;

/** What a publisher says of a model; the hub adds place, size and time. */
export const ModelPublication = v.object({
  id: ModelId,
  artifact: ArtifactId,
  model_type: ModelType,
  alias: v.optional(Alias),
  tags: v.array(Tag),
  notes: v.optional(v.string()),
  training: v.object({
    job: v.optional(JobId),
    attempt: v.optional(v.number()),
    dataset: v.optional(ArtifactId),
    dataset_name: v.optional(ArtifactName),
    parent_model: v.optional(ModelId),
    trained_by: v.string(),
    stopped_early: v.optional(v.boolean()),
    metrics: Metrics,
    config: Metrics,
  }),
});
export type ModelPublication = v.InferOutput<typeof ModelPublication>;

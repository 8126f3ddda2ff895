// A room's registry document, `{room}/manifest.json` (docs/protocol/registry.md).
import * as v from "valibot";
import { Label } from "./access.ts";
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
import { Sweep } from "./sweep.ts";
import { REGISTRY_FORMAT_VERSION } from "./version.ts";

const Metrics = v.record(v.string(), v.unknown());
/** Why somebody did something, in their own words. */
export const Reason = v.pipe(v.string(), v.maxLength(1024));

/** Models that work together and are published together, such as `topdown` of a centroid and a centered_instance model. */
export const Pipeline = v.object({
  /** In the order they run in. */
  parts: v.pipe(
    v.array(v.object({ model_type: ModelType, model: ModelId })),
    v.minLength(1),
    v.maxLength(8),
  ),
});
export type Pipeline = v.InferOutput<typeof Pipeline>;

/** Keeps a model from retention, whatever its rules say. */
export const Pin = v.object({
  who: v.string(),
  by: v.optional(Label),
  when: Timestamp,
  why: v.optional(Reason),
});
export type Pin = v.InferOutput<typeof Pin>;

/** Lower-case hex BLAKE3-256 of the canonical JSON of a configuration. */
const ConfigDigest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** Where a model comes from, as its publisher tells it. */
const lineage = {
  job: v.optional(JobId),
  dataset: v.optional(ArtifactId),
  dataset_name: v.optional(ArtifactName),
  /** What it was fine-tuned from. */
  parent_model: v.optional(ModelId),
  /** Files the trainer ran from. */
  code: v.optional(ArtifactId),
  /** Of `config`; the hub computes it. */
  config_digest: v.optional(ConfigDigest),
  run_name: v.optional(v.string()),
  /** What the trainer's randomness began with, where it was told. */
  seed: v.optional(v.pipe(v.number(), v.safeInteger())),
  trained_by: v.string(),
  stopped_early: v.optional(v.boolean()),
  sweep: v.optional(Sweep),
  /** Brought from elsewhere: the format it had there, and what it was called. */
  imported: v.optional(v.object({ format: v.string(), from: v.string() })),
  metrics: Metrics,
  config: Metrics,
};

export const ModelEntry = v.object({
  id: ModelId,
  /** One user alias that points at it now, the one given last. */
  alias: v.optional(Alias),
  model_type: ModelType,
  tags: v.array(Tag),
  notes: v.optional(v.string()),
  /** Who wrote, or cleared, the notes last; absent while they are the publisher's. */
  noted: v.optional(v.object({ who: v.string(), by: v.optional(Label), when: Timestamp })),
  pipeline: v.optional(Pipeline),
  pinned: v.optional(Pin),
  artifact: ArtifactId,
  storage: v.object({
    s3_path: v.string(),
    size_bytes: ByteCount,
    files: v.array(v.string()),
  }),
  training: v.object({
    ...lineage,
    trained_at: Timestamp,
    worker: v.optional(PeerId),
  }),
  /** As stored: `in_s3` alone. Who has it cached is presence, which hubs add to what they answer. */
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
  /** Proven: the key's thumbprint, or `owner`. */
  who: v.string(),
  /** What they call themselves. */
  by: v.optional(Label),
  when: Timestamp,
  why: v.optional(v.string()),
  /** Nothing moved: the alias was protected (`true`) or no longer (`false`), pointing at `from` and `to`, which are equal. */
  protection: v.optional(v.boolean()),
  /** The condition the move was made under, such as `val_loss < current`, and the metric's values then. */
  gate: v.optional(
    v.object({
      condition: v.string(),
      candidate: v.optional(v.number()),
      current: v.optional(v.number()),
    }),
  ),
});
export type AliasMove = v.InferOutput<typeof AliasMove>;

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** Which models a room keeps. Aliased, pinned and protected ones, and parts of kept pipelines, are kept always. */
export const Retention = v.object({
  /** The newest so many of every type; `per_type` overrides. */
  keep_per_type: v.optional(Count),
  per_type: v.optional(v.record(v.string(), Count), {}),
  /** Models without tags given by people go after so many days. */
  untagged_days: v.optional(v.pipe(v.number(), v.minValue(0))),
  /** Hours between a model's removal and that of its bytes, during which it can be restored. */
  grace_hours: v.optional(v.pipe(v.number(), v.minValue(0)), 168),
});
export type Retention = v.InferOutput<typeof Retention>;

/** A removed model: what it was and why it went stays for ever; its bytes go after `bytes_until`. */
export const Tombstone = v.object({
  entry: ModelEntry,
  /** As in `AliasMove`; `hub` when the room's rules let it go. */
  who: v.string(),
  by: v.optional(Label),
  when: Timestamp,
  why: v.string(),
  bytes_until: Timestamp,
  /** `held`: it can be restored. `purging`: its bytes are being removed. `purged`: they are gone. */
  state: v.picklist(["held", "purging", "purged"]),
  purged_at: v.optional(Timestamp),
});
export type Tombstone = v.InferOutput<typeof Tombstone>;

export const Registry = v.object({
  /** Documents of format 1 lack what has a default here, and are written again as the newest format. */
  format: v.pipe(
    v.picklist([1, REGISTRY_FORMAT_VERSION]),
    v.transform((): typeof REGISTRY_FORMAT_VERSION => REGISTRY_FORMAT_VERSION),
  ),
  room: RoomId,
  /** Counts the writes of the document. */
  revision: v.optional(Count, 0),
  /** Names the write that made this revision, and its record in the journal. */
  write: v.optional(v.string(), ""),
  models: v.record(v.string(), ModelEntry),
  /** User aliases and the automatic `latest-{type}`. */
  aliases: v.record(v.string(), ModelId),
  protected_aliases: v.array(Alias),
  alias_history: v.array(AliasMove),
  tombstones: v.optional(v.record(v.string(), Tombstone), {}),
  retention: v.optional(Retention, {}),
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
  /** Of the last of several that are published together: the others are its parts. */
  pipeline: v.optional(Pipeline),
  training: v.object({ ...lineage, attempt: v.optional(v.number()) }),
});
export type ModelPublication = v.InferOutput<typeof ModelPublication>;

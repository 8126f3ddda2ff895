// The journal beside a room's registry: what each write of it changed (docs/protocol/registry-storage.md §2), and what is said
// of a registry that was looked through (§5).
import * as v from "valibot";
import { ModelId, RoomId, Timestamp } from "./ids.ts";
import { AliasMove, ModelEntry, Tombstone } from "./registry.ts";
import { REGISTRY_FORMAT_VERSION } from "./version.ts";

const Revision = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

/** What one write of a registry changed. `null` stands for what was removed. */
export const RegistryChanges = v.object({
  models: v.record(v.string(), v.nullable(ModelEntry)),
  aliases: v.record(v.string(), v.nullable(ModelId)),
  tombstones: v.record(v.string(), v.nullable(Tombstone)),
  /** Added to the end of `alias_history`. */
  history: v.array(AliasMove),
  /** Every other member of the document that changed, whole. */
  fields: v.record(v.string(), v.unknown()),
});
export type RegistryChanges = v.InferOutput<typeof RegistryChanges>;

/** `{room}/registry/journal/{revision}-{write}.json`; stored before the write it tells of, which may have lost its race. */
export const JournalRecord = v.object({
  format: v.literal(REGISTRY_FORMAT_VERSION),
  room: RoomId,
  revision: Revision,
  write: v.string(),
  /** The write of the revision before; empty when there was none with a name. */
  parent: v.string(),
  at: Timestamp,
  changes: RegistryChanges,
});
export type JournalRecord = v.InferOutput<typeof JournalRecord>;

/** What was found in a registry and beside it. */
export const RegistryReport = v.object({
  /** Why the document cannot be used; absent when it can. */
  damage: v.optional(v.string()),
  revision: v.number(),
  models: v.number(),
  aliases: v.number(),
  tombstones: v.number(),
  alias_moves: v.number(),
  /** Of the newest whole snapshot that leads to the present revision. */
  snapshot: v.optional(Revision),
  /** Records that lead from there to the present revision. */
  records: v.number(),
  /** Revisions whose record is gone or unreadable, first and last: what they changed is not known from the journal. */
  holes: v.array(v.tuple([v.number(), v.number()])),
  /** Aliases left out because the model they pointed at is lost, as `alias → model`. */
  lost_aliases: v.array(v.string()),
  /** Records and snapshots that cannot be read, or contradict others. */
  unreadable: v.array(v.string()),
  /** Entries whose files are not all in the store. */
  without_bytes: v.array(ModelId),
  /** Folders of models that no entry and no tombstone names: pushes that were never published, or entries that were lost. */
  without_entry: v.array(v.object({ place: v.string(), model: v.optional(ModelId) })),
});
export type RegistryReport = v.InferOutput<typeof RegistryReport>;

// The journal beside a room's registry: what each write of it changed (docs/protocol/registry-storage.md §2).
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

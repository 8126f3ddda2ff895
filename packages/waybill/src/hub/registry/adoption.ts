// Entries for models whose bytes are there and that nothing names: what their reservation, their upload and their job
// still say of them (docs/protocol/registry-storage.md §5).
import {
  type ArtifactRecord,
  JobDoc,
  type ModelEntry,
  type ModelId,
  type Registry,
  type RoomId,
  Tag,
  decodeValue,
} from "@waybill/sdk/protocol";
import { latestAlias } from "@waybill/sdk/registry";
import type { Documents } from "../bucket/documents.ts";
import { jobIdOf, jobKey } from "../jobs/job-keys.ts";
import { findReservation } from "./model-ids.ts";
import { objectsOf } from "./publication.ts";

export type AdoptionDeps = {
  readonly documents: Documents;
  /** What was uploaded into a model's own folder. */
  readonly filledBy: (room: RoomId, model: ModelId) => Promise<ArtifactRecord | undefined>;
};

const RECOVERED = decodeValue(Tag, "recovered", "tag");

/** The entry of a model, from everything but the registry; `undefined` when that is too little. */
export async function recoveredEntry(
  { documents, filledBy }: AdoptionDeps,
  room: RoomId,
  model: ModelId,
): Promise<ModelEntry | undefined> {
  const [reservation, record] = await Promise.all([
    findReservation(documents, room, model),
    filledBy(room, model),
  ]);
  if (reservation === undefined || record === undefined) return undefined;
  const job = jobIdOf(reservation.owner);
  const doc = job && (await documents.read(JobDoc, jobKey(room, job)))?.doc;
  const dataset = doc?.spec.dataset;
  return {
    id: model,
    model_type: reservation.modelType,
    tags: [RECOVERED],
    artifact: record.artifact,
    storage: {
      s3_path: record.s3Path,
      size_bytes: record.bytes,
      files: await objectsOf(documents.bucket, record),
    },
    training: {
      ...(job === undefined ? {} : { job }),
      ...(dataset === undefined ? {} : { dataset }),
      trained_by: doc?.submittedBy ?? "unknown",
      trained_at: record.createdAt,
      metrics: {},
      config: doc?.spec.config ?? {},
    },
    availability: { in_s3: true, cached_on_workers: [] },
  };
}

/** Enters recovered models, oldest first; `latest-{type}` names one of them only where it names none. */
export function adopt(registry: Registry, entries: readonly ModelEntry[]): Registry {
  const fresh = entries
    .filter(({ id }) => !Object.hasOwn(registry.models, id))
    .filter(({ id }) => !Object.hasOwn(registry.tombstones, id))
    .toSorted((a, b) => (a.training.trained_at < b.training.trained_at ? -1 : 1));
  if (fresh.length === 0) return registry;
  const models = { ...registry.models };
  const latest: Record<string, ModelId> = {};
  for (const entry of fresh) {
    models[entry.id] = entry;
    latest[latestAlias(entry.model_type)] = entry.id;
  }
  return { ...registry, models, aliases: { ...latest, ...registry.aliases } };
}

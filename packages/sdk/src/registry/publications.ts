// Models entering the registry, alone or as a pipeline with its parts: a pure edit, so that all of it is one conditional
// write (docs/protocol/registry.md §2, §5).
import {
  type JobId,
  type ModelEntry,
  type Registry,
  WaybillError,
  partTypesOf,
} from "../protocol/index.ts";
import { type Edited, type Editor, latestAlias, pointAlias, removedModel } from "./edits.ts";
import { markBestOfSweep } from "./sweeps.ts";

/**
 * Adds a model, points its `alias` and `latest-{type}` at it; idempotent by id and artifact. Throws `conflict` when
 * the id names another artifact, `not_found` when its model was removed, `forbidden` when the alias is protected and the editor is no owner. A job has one model:
 * a second one of it changes nothing and answers the first.
 */
export function addModel(registry: Registry, entry: ModelEntry, by: Editor): Edited<ModelEntry> {
  const { registry: next, result } = addModels(registry, [entry], by);
  return { registry: next, result: result.at(-1) ?? entry };
}

/**
 * Adds models that belong together: all of them or none. The last one is what its job came to; a pipeline follows its
 * parts. Answers the entries in their order, or those of the job's former result. Throws as `addModel`, and `invalid_request` when a
 * pipeline's parts are not there or of other types than they should be.
 */
export function addModels(
  registry: Registry,
  entries: readonly ModelEntry[],
  by: Editor,
): Edited<readonly ModelEntry[]> {
  const job = commonJob(entries);
  // One result per job: an attempt that was lost after this has published it.
  const former = job === undefined ? undefined : resultOfJob(registry, job);
  if (former !== undefined) return { registry, result: withParts(registry, former) };
  let next = registry;
  for (const entry of entries) next = withModel(next, entry, by);
  for (const { pipeline, id } of entries) {
    const added = Object.hasOwn(registry.models, id) ? undefined : pipeline;
    if (added !== undefined) assertParts(next, next.models[id]);
  }
  const result = entries.map((entry) => next.models[entry.id] ?? entry);
  return { registry: next, result };
}

/** What a job came to: its model, or the pipeline where it made several. Removed, it is the job's one result still. */
export function resultOfJob(
  { models, tombstones }: Pick<Registry, "models" | "tombstones">,
  job: JobId,
): ModelEntry | undefined {
  const isOwn = ({ training }: ModelEntry) => training.job === job;
  const buried = Object.values(tombstones).map(({ entry }) => entry);
  const own = [...Object.values(models).filter(isOwn), ...buried.filter(isOwn)];
  return own.find(({ pipeline }) => pipeline !== undefined) ?? own[0];
}

function commonJob(entries: readonly ModelEntry[]): JobId | undefined {
  const jobs = new Set(entries.map(({ training }) => training.job));
  if (jobs.size <= 1) return entries[0]?.training.job;
  throw new WaybillError("invalid_request", "models that are published together are of one job");
}

/** A pipeline behind its parts, as it was published. */
function withParts(registry: Registry, entry: ModelEntry): ModelEntry[] {
  const parts = (entry.pipeline?.parts ?? []).flatMap(
    ({ model }) => registry.models[model] ?? registry.tombstones[model]?.entry ?? [],
  );
  return [...parts, entry];
}

function withModel(registry: Registry, entry: ModelEntry, by: Editor): Registry {
  const present = Object.hasOwn(registry.models, entry.id) ? registry.models[entry.id] : undefined;
  if (present?.artifact === entry.artifact) return registry;
  if (present !== undefined) {
    throw new WaybillError(
      "conflict",
      `model ${entry.id} is artifact ${present.artifact} and cannot become ${entry.artifact}`,
    );
  }
  if (Object.hasOwn(registry.tombstones, entry.id)) throw removedModel(registry, entry.id);
  assertBytesStay(registry, entry);
  if (Object.hasOwn(registry.tombstones, entry.id)) {
    throw new WaybillError("conflict", `model ${entry.id} was removed: its id is not used again`, {
      hint: "restore it, or publish under another id",
    });
  }
  const { alias, ...rest } = entry;
  const models = { ...registry.models, [entry.id]: { ...rest, tags: [...new Set(entry.tags)] } };
  const { sweep } = entry.training;
  const next: Registry = {
    ...registry,
    models: sweep === undefined ? models : markBestOfSweep(models, sweep),
    aliases: { ...registry.aliases, [latestAlias(entry.model_type)]: entry.id },
  };
  return alias === undefined ? next : pointAlias(next, alias, entry.id, by, "published");
}

/** Two models of the same content may share a folder: one whose bytes are going takes no second one in. */
function assertBytesStay({ tombstones, room }: Registry, { artifact, storage }: ModelEntry): void {
  const isGoing = Object.values(tombstones).some(
    ({ state, entry }) => state !== "held" && entry.storage.s3_path === storage.s3_path,
  );
  if (!isGoing) return;
  const what = `room ${room} is removing the bytes of artifact ${artifact}`;
  throw new WaybillError("not_found", what, { hint: "push it again in a moment" });
}

/** Parts are models of the room, each of the type it is named as, and of the types the pipeline's type asks for. */
function assertParts({ models, room }: Registry, entry: ModelEntry | undefined): void {
  if (entry?.pipeline === undefined) return;
  const { parts } = entry.pipeline;
  const what = `a ${entry.model_type} of ${parts.map(({ model_type }) => model_type).join(" and ")}`;
  const wanted = partTypesOf(entry.model_type);
  if (wanted !== undefined && wanted.join() !== parts.map((part) => part.model_type).join()) {
    throw new WaybillError("invalid_request", `${what} is none`, {
      hint: `a ${entry.model_type} is made of ${wanted.join(" and ")}, in this order`,
    });
  }
  for (const { model, model_type } of parts) {
    const part = Object.hasOwn(models, model) ? models[model] : undefined;
    if (part?.model_type === model_type && part.pipeline === undefined) continue;
    throw new WaybillError(
      "invalid_request",
      `${what} cannot have ${model} as a part: room ${room} has no ${model_type} of this id`,
      { hint: "publish the parts with it, or before it" },
    );
  }
}

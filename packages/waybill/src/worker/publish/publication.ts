// What a worker tells the registry of a job's model, and what it tells viewers once the registry has it.
import {
  type ArtifactId,
  type JobAssignment,
  type ModelEntry,
  type ModelId,
  type ModelPublication,
  type ModelType,
  WaybillError,
} from "@waybill/sdk/protocol";
import { seedOf } from "@waybill/sdk/registry";
import { isStale } from "../errors.ts";
import type { PublishRequest, Published } from "./publish-types.ts";

type Trained = Pick<PublishRequest, "data" | "stoppedEarly">;
type Made = {
  readonly model: ModelId;
  readonly modelType: ModelType;
  readonly artifact: ArtifactId;
};

/** Of what the job came to: its names, its tags, all that is known of its training. */
export function publicationOf(
  { job, attempt, spec, submittedBy }: JobAssignment,
  { model, modelType, artifact }: Made,
  { data, stoppedEarly }: Trained,
): ModelPublication {
  const seed = seedOf(spec);
  return {
    id: model,
    artifact,
    model_type: modelType,
    ...(spec.alias === undefined ? {} : { alias: spec.alias }),
    tags: spec.tags,
    ...(spec.notes === undefined ? {} : { notes: spec.notes }),
    training: {
      job,
      attempt,
      ...(spec.dataset === undefined ? {} : { dataset: spec.dataset }),
      ...(spec.datasetName === undefined ? {} : { dataset_name: spec.datasetName }),
      ...(spec.parent === undefined ? {} : { parent_model: spec.parent }),
      ...(spec.code === undefined ? {} : { code: spec.code }),
      ...(spec.runName === undefined ? {} : { run_name: spec.runName }),
      ...(seed === undefined ? {} : { seed }),
      ...(spec.sweep === undefined ? {} : { sweep: spec.sweep }),
      trained_by: submittedBy,
      stopped_early: stoppedEarly,
      metrics: { ...data },
      config: spec.config,
    },
  };
}

/** A model is worth more than its alias: one that was protected or taken meanwhile is left out, loudly. */
export async function enterWithAlias<T>(
  { spec }: JobAssignment,
  enter: (withAlias: boolean) => Promise<T>,
  onWarning: (line: string) => void,
): Promise<T> {
  try {
    return await enter(true);
  } catch (error) {
    const refused =
      error instanceof WaybillError && (error.code === "forbidden" || error.code === "conflict");
    if (spec.alias === undefined || !refused || isStale(error)) throw error;
    const entered = await enter(false);
    onWarning(`the model was published without the alias ${spec.alias}: ${error.message}`);
    return entered;
  }
}

/** A publication that leaves the alias where it is. */
export function withoutAlias({ alias: _, ...rest }: ModelPublication): ModelPublication {
  return rest;
}

export function publishedAs(entry: ModelEntry, parts: readonly ModelEntry[] = []): Published {
  return {
    type: "published",
    model: entry.id,
    modelType: entry.model_type,
    artifact: entry.artifact,
    bytes: [...parts, entry].reduce((sum, { storage }) => sum + storage.size_bytes, 0),
    ...(entry.alias === undefined ? {} : { alias: entry.alias }),
    tags: entry.tags,
    s3Path: entry.storage.s3_path,
    ...(parts.length === 0
      ? {}
      : {
          parts: parts.map(({ id, model_type, artifact }) => ({
            model: id,
            modelType: model_type,
            artifact,
          })),
        }),
  };
}

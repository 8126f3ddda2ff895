// What a room's peers are told of a model that was published.
import type { HubToPeer, ModelEntry } from "../protocol/index.ts";

export type ModelPublished = Extract<HubToPeer, { type: "model.published" }>;

/** The notice that an entry's publication makes. */
export function publishedNotice(entry: ModelEntry): ModelPublished {
  const { id, model_type, artifact, alias, storage, training } = entry;
  return {
    type: "model.published",
    model: id,
    modelType: model_type,
    artifact,
    bytes: storage.size_bytes,
    ...(alias === undefined ? {} : { alias }),
    ...(training.job === undefined ? {} : { job: training.job }),
    ...(training.worker === undefined ? {} : { worker: training.worker }),
  };
}

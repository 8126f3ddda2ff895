// A model entry for tests, with what a test cares about replaced.
import type { ArtifactId, ModelEntry, ModelId, ModelType, RoomId } from "../protocol/index.ts";

export const LAB = "lab" as RoomId;

/** An entry whose artifact follows from its id. */
export function entryOf(id: string, over: Partial<ModelEntry> = {}): ModelEntry {
  return {
    id: id as ModelId,
    model_type: "unet" as ModelType,
    tags: [],
    artifact: id.padEnd(64, "0") as ArtifactId,
    storage: { s3_path: `rooms/lab/models/unet_${id}/`, size_bytes: 1, files: ["model.bin"] },
    training: {
      trained_by: "ada",
      trained_at: "2026-01-02T03:04:05.678Z",
      metrics: {},
      config: {},
    },
    availability: { in_s3: true, cached_on_workers: [] },
    ...over,
  };
}

// What jobs that have not ended need of their room: it is not removed under them.
import {
  type ArtifactId,
  type JobId,
  type ModelId,
  type RoomId,
  isTerminal,
} from "@waybill/sdk/protocol";
import type { JobStore } from "./job-store.ts";

export type JobUses = {
  /** Data sets, code, parents' bytes and checkpoints to go on from. */
  readonly artifacts: ReadonlyMap<ArtifactId, JobId>;
  /** Models that are being fine-tuned from. */
  readonly models: ReadonlyMap<ModelId, JobId>;
};

/** Reads every live job of a room. */
export async function jobUses(store: JobStore, room: RoomId): Promise<JobUses> {
  const artifacts = new Map<ArtifactId, JobId>();
  const models = new Map<ModelId, JobId>();
  const ids = (await store.markers(room)).map(({ job }) => job);
  for (const doc of await store.readMany(room, ids)) {
    if (doc === undefined || isTerminal(doc.state)) continue;
    const { job, spec, parentArtifact, resume } = doc;
    for (const artifact of [spec.dataset, spec.code, parentArtifact, resume?.artifact]) {
      if (artifact !== undefined) artifacts.set(artifact, job);
    }
    if (spec.parent !== undefined) models.set(spec.parent, job);
  }
  return { artifacts, models };
}

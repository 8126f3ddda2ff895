// Models that enter a room, or come back, are found by their artifact: the record may have ended with that of a removed model of
// the same content, in the moment before (model-bytes.ts has the other side).
import type { ArtifactRecord, ModelEntry, ModelId, RoomId } from "@waybill/sdk/protocol";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Handlers } from "../http/handler.ts";

type Entering = Handlers<"publishModel" | "publishModels">;

export type FindableDeps = {
  readonly records: Pick<ArtifactRecords, "stored" | "enter">;
  /** The record of the upload that has filled a model's own folder. */
  readonly filled: (room: RoomId, model: ModelId) => Promise<ArtifactRecord | undefined>;
};

/** The handlers, which look after the artifact's record when the registry names the model. */
export function withFindableArtifacts<H extends Entering>(handlers: H, deps: FindableDeps): H {
  return {
    ...handlers,
    publishModel: async (call) => {
      const entry = await handlers.publishModel(call);
      await assureRecord(deps, call.params.room, entry);
      return entry;
    },
    publishModels: async (call) => {
      const { models } = await handlers.publishModels(call);
      for (const entry of models) await assureRecord(deps, call.params.room, entry);
      return { models };
    },
  };
}

async function assureRecord(
  { records, filled }: FindableDeps,
  room: RoomId,
  { id, artifact }: ModelEntry,
): Promise<void> {
  if ((await records.stored(room, artifact)) !== undefined) return;
  const own = await filled(room, id);
  if (own?.artifact === artifact) await records.enter(room, own);
}

// After a training: say what came of it, then make it a model others can name.
import { type JobEvent, type ModelId, WaybillError } from "@waybill/sdk/protocol";
import { measureTree } from "../cache/tree-state.ts";
import type { RunParts } from "./run-parts.ts";

export type PublishOutputInit = {
  readonly parts: RunParts;
  readonly output: string;
  readonly stoppedEarly: boolean;
  /** Steps the log has been told of by a former daemon. */
  readonly told: ReadonlySet<JobEvent["type"]>;
  readonly signal: AbortSignal;
  /** The bytes are in the store; from here on the registry may name the model. */
  readonly onCommitting: () => void;
};

/** Progress events of the upload; a terminal shows no more than this. */
const PROGRESS_MS = 1000;

/** Publishes and returns the model; throws `trainer_failed` when there is nothing to publish. */
export async function publishOutput(init: PublishOutputInit): Promise<ModelId> {
  const { parts, output, signal } = init;
  const { journal, append, flusher, publisher } = parts;
  flusher.postpone();
  const result = journal.record.result ?? {
    stoppedEarly: init.stoppedEarly,
    data: parts.results.final,
  };
  const { files, bytes } = await measureTree(output);
  if (files === 0) {
    throw new WaybillError(
      "trainer_failed",
      result.stoppedEarly
        ? "the trainer was stopped before it had written a model to WAYBILL_OUTPUT"
        : "the trainer ended without writing any file to WAYBILL_OUTPUT",
    );
  }
  // Written while the bytes travel; it must be there before anything is irrevocable.
  const noted = journal.update({ stage: "publishing", result });
  noted.catch(() => undefined);
  if (!init.told.has("result")) append({ type: "result", ...result, files, bytes });
  const startMs = performance.now();
  let shownMs = startMs;
  const published = await publisher.publish({
    output,
    ...result,
    signal,
    onProgress: (progress) => {
      if (performance.now() - shownMs < PROGRESS_MS) return;
      shownMs = performance.now();
      append({
        type: "transfer",
        what: "model",
        direction: "up",
        bytes: progress.bytes,
        total: progress.total,
        seconds: Math.round(shownMs - startMs) / 1000,
        sources: {},
        done: false,
      });
    },
    onPushed: async (pushed) => {
      append({
        type: "transfer",
        what: "model",
        direction: "up",
        artifact: pushed.artifact,
        bytes: pushed.bytes,
        total: pushed.bytes,
        seconds: Math.round(pushed.seconds * 1000) / 1000,
        sources: { s3: pushed.sentBytes },
        done: true,
      });
      init.onCommitting();
      await noted;
    },
    onWarning: (line) => append({ type: "log", stream: "waybill", line }),
  });
  if (!init.told.has("published")) append(published);
  return published.model;
}

// After a training and its result: make it a model others can name.
import type { JobEvent, ModelId } from "@waybill/sdk/protocol";
import type { RunParts } from "./run-parts.ts";
import type { ToldResult } from "./tell-result.ts";

export type PublishOutputInit = {
  readonly parts: Pick<RunParts, "append" | "publisher">;
  readonly output: string;
  readonly result: ToldResult;
  /** Steps the log has been told of by a former daemon. */
  readonly told: ReadonlySet<JobEvent["type"]>;
  readonly signal: AbortSignal;
  /** The bytes are in the store; from here on the registry may name the model. */
  readonly onCommitting: () => void;
};

/** Progress events of the upload; a terminal shows no more than this. */
const PROGRESS_MS = 1000;

/** Publishes and returns the model. */
export async function publishOutput(init: PublishOutputInit): Promise<ModelId> {
  const { parts, output, signal, result } = init;
  const { append, publisher } = parts;
  const startMs = performance.now();
  let shownMs = startMs;
  const published = await publisher.publish({
    output,
    data: result.data,
    stoppedEarly: result.stoppedEarly,
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
      await result.noted;
    },
    onWarning: (line) => append({ type: "log", stream: "waybill", line }),
  });
  if (!init.told.has("published")) append(published);
  return published.model;
}

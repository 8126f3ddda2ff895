// What a training came to, told to whoever watches before a byte of the model is on its way: metrics, the model's id and
// alias-to-be, some predictions, thumbnails.
import {
  type JobSpec,
  type ModelId,
  type NewJobEvent,
  WaybillError,
  messageOf,
} from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import { measureTree } from "../cache/tree-state.ts";
import { assertPartsThere } from "../publish/pipeline-output.ts";
import { readPredictionFile } from "../trainers/prediction-file.ts";
import { type Predicted, slicesOf } from "../trainers/predictions.ts";
import type { Results } from "../trainers/results.ts";
import type { Samples } from "../trainers/samples.ts";
import { listThumbnails } from "../trainers/thumbnails.ts";
import { type LoggedSteps, THUMBNAIL } from "./logged-steps.ts";
import type { NotedResult, RunJournal } from "./run-journal.ts";

export type TellResultInit = {
  readonly results: Results;
  readonly samples: Pick<Samples, "take" | "settled">;
  readonly journal: Pick<RunJournal, "record" | "update">;
  readonly append: (event: NewJobEvent) => void;
  readonly output: string;
  readonly spec: Pick<JobSpec, "modelType" | "alias">;
  /** The id that is reserved for the model, as far as that is known by now. */
  readonly model: ModelId | undefined;
  readonly stoppedEarly: boolean;
  /** Waits so long for samples that are still being stored. */
  readonly samplesMs: number;
  /** What a former daemon has logged. */
  readonly logged: Pick<LoggedSteps, "told" | "thumbnails" | "predicted">;
};

/** The result, and its place in the journal: to be waited for before anything is irrevocable. */
export type ToldResult = NotedResult & { readonly noted: Promise<void> };

/** Tells once, over restarts, too. Throws `trainer_failed` when there is nothing to publish. */
export async function tellResult(init: TellResultInit): Promise<ToldResult> {
  const { results, samples, journal, append, output, spec, logged } = init;
  const [{ files, bytes }, predicted, thumbnails] = await Promise.all([
    measureTree(output),
    journal.record.result?.predicted ?? results.predicted ?? leftPredictions(init),
    listThumbnails(output),
    settledSoon(samples, init.samplesMs),
  ]);
  const result: NotedResult = journal.record.result ?? {
    stoppedEarly: init.stoppedEarly,
    data: results.final,
    ...(predicted === undefined ? {} : { predicted: { ...predicted, rows: [...predicted.rows] } }),
  };
  if (files === 0) {
    throw new WaybillError(
      "trainer_failed",
      result.stoppedEarly
        ? "the trainer was stopped before it had written a model to WAYBILL_OUTPUT"
        : "the trainer ended without writing any file to WAYBILL_OUTPUT",
    );
  }
  await assertPartsThere(output, spec.modelType);
  // Written while the bytes travel.
  const noted = journal.update({ stage: "publishing", result });
  noted.catch(() => undefined);
  if (!logged.told.has("result")) {
    append({
      type: "result",
      data: result.data,
      stoppedEarly: result.stoppedEarly,
      files,
      bytes,
      modelType: spec.modelType,
      ...(init.model === undefined ? {} : { model: init.model }),
      ...(spec.alias === undefined ? {} : { alias: spec.alias }),
      ...(predicted === undefined ? {} : { predictions: countsOf(predicted) }),
      ...(thumbnails.files.length === 0 ? {} : { thumbnails: thumbnails.files.length }),
    });
    if (thumbnails.leftOut > 0) {
      const line = `${thumbnails.leftOut} thumbnails are not shown: too large, or too many`;
      append({ type: "log", stream: "waybill", line });
    }
  }
  // Behind it: on a long path they take some round trips.
  for (const slice of slicesOf(predicted?.rows ?? [])) {
    if (slice.first >= logged.predicted) append({ type: "predictions", ...slice });
  }
  for (const file of thumbnails.files) {
    if (!logged.thumbnails.has(file)) samples.take(file, { type: THUMBNAIL, file });
  }
  return { ...result, noted };
}

async function leftPredictions({ output, append }: TellResultInit): Promise<Predicted | undefined> {
  try {
    return await readPredictionFile(output);
  } catch (error) {
    const line = `predictions are not shown: ${messageOf(error)}`;
    append({ type: "log", stream: "waybill", line });
    return undefined;
  }
}

async function settledSoon(samples: Pick<Samples, "settled">, withinMs: number): Promise<void> {
  const over = new AbortController();
  await Promise.race([samples.settled(), delay(withinMs, over.signal).catch(() => undefined)]);
  over.abort();
}

function countsOf({ rows, leftOut, more }: Predicted) {
  return { rows: rows.length, leftOut, more };
}

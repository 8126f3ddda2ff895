// A metric's keys as TensorBoard's scalars: which number is the step, and what the tags are.
import type { Scalar } from "./event-message.ts";

export type Point = { readonly step: number; readonly scalars: readonly Scalar[] };

/** Keys that count steps of the whole training, in the order they are believed. */
const STEPS = ["global_step", "step", "iteration"] as const;
/** Keys that count or tell time: axes, no curves. Totals are among them. */
const AXES = new Set<string>([
  ...STEPS,
  "epoch",
  "batch",
  "epochs",
  "total_epochs",
  "num_epochs",
  "max_epochs",
  "batches",
  "total_batches",
  "num_batches",
  "steps",
  "total_steps",
  "max_steps",
  "time",
  "timestamp",
  "t",
]);
const NOT_FINITE: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
};

/**
 * The point a metric is; undefined when nothing but axes is in it. A batch begins anew in every epoch, so its numbers
 * are shown over `ordinal`, how many metrics came before, and apart from those of epochs: under `batch/`.
 */
export function pointOf(
  data: Readonly<Record<string, unknown>>,
  ordinal: number,
): Point | undefined {
  const batch = "batch" in data;
  // SLEAP trains several models in one job.
  const what = typeof data["what"] === "string" ? `${data["what"]}/` : "";
  const prefix = what + (batch ? "batch/" : "");
  const scalars = Object.entries(data).flatMap(([key, value]) => {
    const number = AXES.has(key) ? undefined : numberOf(value);
    return number === undefined ? [] : [{ tag: prefix + key, value: number }];
  });
  if (scalars.length === 0) return undefined;
  const counted = [...STEPS, ...(batch ? [] : ["epoch"])].map((key) => data[key]);
  const step = counted.find((one) => typeof one === "number" && Number.isSafeInteger(one));
  return { step: typeof step === "number" ? step : ordinal, scalars };
}

function numberOf(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return typeof value === "string" ? NOT_FINITE[value] : undefined;
}

// Lines a trainer prints (docs/protocol/trainer.md). One JSON object a line is a message; anything else is log.
import * as v from "valibot";
import type { Adjustment } from "./events.ts";

/** Environment a trainer finds. */
export const TRAINER_ENV = {
  dataset: "WAYBILL_DATASET",
  output: "WAYBILL_OUTPUT",
  config: "WAYBILL_CONFIG",
  job: "WAYBILL_JOB",
  attempt: "WAYBILL_ATTEMPT",
  resume: "WAYBILL_RESUME",
  seed: "WAYBILL_SEED",
} as const;

const Keys = v.record(v.string(), v.unknown());
const Sample = v.looseObject({
  type: v.literal("sample"),
  file: v.pipe(v.string(), v.minLength(1)),
});
const Checkpoint = v.looseObject({ type: v.literal("checkpoint"), path: v.optional(v.string()) });
const Result = v.looseObject({ type: v.literal("result") });
const Adjusted = v.looseObject({ adjusted: Keys, id: v.optional(v.string()) });
const Metric = v.looseObject({ type: v.literal("metric") });
const Predictions = v.strictObject({
  type: v.optional(v.literal("predictions")),
  predictions: v.array(v.unknown()),
});

export type TrainerMessage =
  | { readonly kind: "metric"; readonly data: Record<string, unknown> }
  | { readonly kind: "sample"; readonly data: Record<string, unknown>; readonly file: string }
  | {
      readonly kind: "checkpoint";
      readonly data: Record<string, unknown>;
      readonly path: string | undefined;
    }
  | { readonly kind: "result"; readonly data: Record<string, unknown> }
  /** The trainer has taken (some of) what it was asked to adjust; `id` of the command, if it told it. */
  | {
      readonly kind: "adjusted";
      readonly data: Record<string, unknown>;
      readonly id: string | undefined;
    }
  | { readonly kind: "predictions"; readonly rows: readonly unknown[] }
  | { readonly kind: "log"; readonly line: string };

/** What a worker writes to a trainer's standard input, one a line (trainer.md §8). */
export type TrainerRequest =
  | { readonly type: "adjust"; readonly id: string; readonly values: Adjustment }
  | { readonly type: "checkpoint"; readonly id: string };

/**
 * Reads one line of a trainer's stdout. An object without a `type` is a metric when at least one value is a
 * number; every key stays as it was printed. Lines that only resemble messages are log: a trainer cannot fail by printing.
 */
export function parseTrainerLine(line: string): TrainerMessage {
  const log = { kind: "log", line } as const;
  const text = line.trim();
  if (!text.startsWith("{") || !text.endsWith("}")) return log;
  let printed: unknown;
  try {
    printed = JSON.parse(text, MAY_OVERFLOW.test(text) ? finite : undefined);
  } catch {
    return log;
  }
  // What the schema makes of it: keys that JavaScript gives a meaning (`__proto__`, …) are left out here as they are wherever
  // the event is read, so that it is the same everywhere.
  const parsed = v.safeParse(Keys, printed);
  if (!parsed.success) return log;
  const value = parsed.output;
  if (v.is(Metric, value)) return { kind: "metric", data: value };
  if (v.is(Sample, value)) return { kind: "sample", data: value, file: value.file };
  if (v.is(Checkpoint, value)) return { kind: "checkpoint", data: value, path: value.path };
  if (v.is(Result, value)) return { kind: "result", data: value };
  if (v.is(Adjusted, value)) {
    return { kind: "adjusted", data: v.parse(Keys, value.adjusted), id: value.id };
  }
  if (v.is(Predictions, value)) return { kind: "predictions", rows: value.predictions };
  const data: Record<string, unknown> = value;
  if (data["type"] === undefined && Object.values(data).some(isNumber)) {
    return { kind: "metric", data };
  }
  return log;
}

/** An exponent or a run of digits that long; few lines have one, and the others are read faster. */
const MAY_OVERFLOW = /[eE]\+?\d{3}|\d{309}/;

/** A number too great for a double (`1e999`) would be written on as `null`. */
function finite(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** Numbers, and the texts that stand for those JSON has none for: a diverging loss is a metric above all. */
function isNumber(value: unknown): boolean {
  return (
    typeof value === "number" || value === "NaN" || value === "Infinity" || value === "-Infinity"
  );
}

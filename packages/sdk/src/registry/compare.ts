// Models side by side: what they were made of, their configurations and their metrics.
import type { ModelEntry, ModelId } from "../protocol/index.ts";
import { canonicalJson, type JsonValue } from "../protocol/index.ts";
import { flatConfig } from "./flat-config.ts";
import { type MetricDirection, metricDirection } from "./metric-direction.ts";

/** One key, and what each model has for it; a model without it is left out. */
export type ComparedValue = {
  readonly key: string;
  readonly values: Readonly<Record<string, unknown>>;
  readonly differs: boolean;
};

export type ComparedMetric = ComparedValue & {
  readonly direction?: MetricDirection;
  /** Models with the best value, when the direction is known and they are not all as good. */
  readonly best: readonly ModelId[];
};

export type Comparison = {
  readonly models: readonly ModelId[];
  /** Type, data set, code, parent, run, seed, … */
  readonly facts: readonly ComparedValue[];
  readonly config: readonly ComparedValue[];
  readonly metrics: readonly ComparedMetric[];
};

/** Directions that were asked for, by a metric's key. They go before what its name says. */
export type AskedDirections = Readonly<Record<string, MetricDirection>>;

/** Compares two models or more. Keys come in the order the models have them in. */
export function compareModels(
  models: readonly ModelEntry[],
  directions: AskedDirections = {},
): Comparison {
  const ids = models.map(({ id }) => id);
  const values = (read: (model: ModelEntry) => Map<string, unknown>) => {
    const maps = models.map(read);
    const keys = new Set(maps.flatMap((map) => [...map.keys()]));
    return [...keys].map((key) => comparedValue(key, ids, maps));
  };
  return {
    models: ids,
    facts: values(factsOf),
    config: values(({ training }) => flatConfig(training.config)),
    metrics: values(({ training }) => flatConfig(training.metrics)).map((value) =>
      comparedMetric(value, models, directions),
    ),
  };
}

function factsOf({ model_type, artifact, pipeline, storage, training }: ModelEntry) {
  const facts = {
    type: model_type,
    dataset: training.dataset,
    dataset_name: training.dataset_name,
    code: training.code,
    parent: training.parent_model,
    parts: pipeline?.parts.map(({ model }) => model),
    run: training.run_name,
    seed: training.seed,
    stopped_early: training.stopped_early === true ? true : undefined,
    trained_by: training.trained_by,
    trained_at: training.trained_at,
    imported: training.imported?.from,
    artifact,
    size_bytes: storage.size_bytes,
  };
  return new Map<string, unknown>(Object.entries(facts).filter(([, value]) => value !== undefined));
}

function comparedValue(
  key: string,
  ids: readonly ModelId[],
  maps: readonly ReadonlyMap<string, unknown>[],
): ComparedValue {
  const had = ids.flatMap((id, i) => (maps[i]?.has(key) === true ? [[id, maps[i].get(key)]] : []));
  const texts = new Set(had.map(([, value]) => canonicalJson(value as JsonValue)));
  return {
    key,
    values: Object.fromEntries(had) as Record<string, unknown>,
    differs: had.length < ids.length || texts.size > 1,
  };
}

function comparedMetric(
  compared: ComparedValue,
  models: readonly ModelEntry[],
  directions: AskedDirections,
): ComparedMetric {
  const direction = Object.hasOwn(directions, compared.key)
    ? directions[compared.key]
    : metricDirection(compared.key);
  if (direction === undefined) return { ...compared, best: [] };
  const numbers = models.flatMap(({ id }) => {
    const value = compared.values[id];
    return typeof value === "number" && Number.isFinite(value) ? [{ id, value }] : [];
  });
  const sorted = numbers.map(({ value }) => value).sort((a, b) => a - b);
  const top = direction === "lower" ? sorted[0] : sorted.at(-1);
  const best = numbers.filter(({ value }) => value === top).map(({ id }) => id);
  const isTie = best.length === models.length || numbers.length < 2;
  return { ...compared, direction, best: isTie ? [] : best };
}

// Which model of a sweep has the tag `best-of-sweep`, in the same write as whatever changed the sweep (registry.md, Automatic tags).
import {
  BEST_OF_SWEEP_TAG,
  type ModelEntry,
  type Registry,
  type Sweep,
} from "../protocol/index.ts";

/**
 * The models with the tag on the best of the sweep and on no other of it; the same object when it is there already. Models
 * without a finite number for the metric do not take part; of equals the one published first stays.
 */
export function markBestOfSweep(models: Registry["models"], sweep: Sweep): Registry["models"] {
  const members = Object.values(models).filter((entry) => isOf(entry, sweep));
  let best: ModelEntry | undefined;
  for (const entry of members) {
    if (valueOf(entry, sweep) !== undefined && isBetter(entry, best, sweep)) best = entry;
  }
  let next = models;
  for (const entry of members) {
    const has = entry.tags.includes(BEST_OF_SWEEP_TAG);
    if (has === (entry === best)) continue;
    const tags = entry.tags.filter((tag) => tag !== BEST_OF_SWEEP_TAG);
    if (entry === best) tags.push(BEST_OF_SWEEP_TAG);
    next = { ...next, [entry.id]: { ...entry, tags } };
  }
  return next;
}

function isOf({ training: { sweep } }: ModelEntry, { name, metric, mode }: Sweep): boolean {
  return sweep?.name === name && sweep.metric === metric && sweep.mode === mode;
}

function valueOf({ training }: ModelEntry, { metric }: Sweep): number | undefined {
  const value = Object.hasOwn(training.metrics, metric) ? training.metrics[metric] : undefined;
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

function isBetter(entry: ModelEntry, best: ModelEntry | undefined, sweep: Sweep): boolean {
  const value = valueOf(entry, sweep) ?? 0;
  const record = best === undefined ? undefined : valueOf(best, sweep);
  if (best === undefined || record === undefined) return true;
  if (value === record) return entry.training.trained_at < best.training.trained_at;
  return sweep.mode === "max" ? value > record : value < record;
}

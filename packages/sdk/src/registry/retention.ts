// A room's rules and what they say of its models (docs/protocol/registry.md, "Keeping and removing"). Rules only limit: a model goes when one of them
// lets it go and nothing holds it. Parents of kept models may go; what they were stays readable in their tombstones.
import {
  type ModelEntry,
  type Registry,
  type Retention,
  type RetentionChange,
  isAutomaticTag,
} from "../protocol/index.ts";
import type { Edited } from "./edits.ts";
import { holdsOf, textOfHold } from "./holds.ts";

/** A week: long enough for whoever comes back from a conference. */
const DEFAULT_GRACE_HOURS = 168;

const NO_RULES: Retention = { per_type: {}, grace_hours: DEFAULT_GRACE_HOURS };

const DAY_MS = 86_400_000;

type Going = { readonly entry: ModelEntry; readonly why: string };
type Keeping = { readonly entry: ModelEntry; readonly why: readonly string[] };
export type RetentionPlan = {
  /** Oldest first. */
  readonly goes: readonly Going[];
  /** Newest first. */
  readonly keeps: readonly Keeping[];
};

/** Whether a room's rules can let anything go. */
export function hasRules({ keep_per_type, per_type, untagged_days }: Retention): boolean {
  return (
    keep_per_type !== undefined || untagged_days !== undefined || Object.keys(per_type).length > 0
  );
}

/** Changes a room's rules; what they let go leaves when they are applied, not now. */
export function changeRetention(registry: Registry, change: RetentionChange): Edited<Retention> {
  const { retention: before } = registry;
  const base = change.clear ? NO_RULES : before;
  const perType: Record<string, number> = { ...base.per_type };
  for (const [type, keep] of Object.entries(change.per_type)) {
    if (keep === null) delete perType[type];
    else perType[type] = keep;
  }
  const keep = changed(base.keep_per_type, change.keep_per_type);
  const days = changed(base.untagged_days, change.untagged_days);
  const result: Retention = {
    ...(keep === undefined ? {} : { keep_per_type: keep }),
    per_type: perType,
    ...(days === undefined ? {} : { untagged_days: days }),
    grace_hours: changed(base.grace_hours, change.grace_hours) ?? DEFAULT_GRACE_HOURS,
  };
  if (isSame(result, before)) return { registry, result: before };
  return { registry: { ...registry, retention: result }, result };
}

/**
 * What the rules say of every model now. `used` names models that something outside the registry needs, and what: they stay,
 * too.
 */
export function planRetention(
  registry: Registry,
  nowMs: number,
  used: ReadonlyMap<string, string> = new Map(),
): RetentionPlan {
  const { retention } = registry;
  const newest = Object.values(registry.models).toSorted(newestFirst);
  const ranks = rankByType(newest);
  const released = new Map<string, string>();
  for (const entry of newest) {
    const why = releasedBy(retention, entry, ranks.get(entry.id) ?? 0, nowMs);
    if (why !== undefined) released.set(entry.id, why);
  }
  const kept = keptOf(registry, released, used);
  const goes: Going[] = [];
  const keeps: Keeping[] = [];
  for (const entry of newest) {
    const why = released.get(entry.id);
    const reasons = kept.get(entry.id);
    if (why !== undefined && reasons === undefined) goes.push({ entry, why });
    else {
      const rank = ranks.get(entry.id) ?? 0;
      keeps.push({ entry, why: reasons ?? keptByRules(retention, entry, rank, nowMs) });
    }
  }
  return { goes: goes.toReversed(), keeps };
}

/** What holds models, given that pipelines which go hold none of their parts. */
function keptOf(
  registry: Registry,
  released: ReadonlyMap<string, string>,
  used: ReadonlyMap<string, string>,
): Map<string, string[]> {
  let leaving: ReadonlySet<string> = new Set(released.keys());
  for (;;) {
    const kept = new Map<string, string[]>();
    for (const [id, holds] of holdsOf(registry, leaving)) kept.set(id, holds.map(textOfHold));
    for (const [id, why] of used) kept.set(id, [...(kept.get(id) ?? []), why]);
    // A pipeline that is kept after all holds its parts; each round takes one out at least.
    const still = new Set([...leaving].filter((id) => !kept.has(id)));
    if (still.size === leaving.size) return kept;
    leaving = still;
  }
}

/** Why the rules let a model go; `rank` is 1 for the newest of its type. */
function releasedBy(
  retention: Retention,
  entry: ModelEntry,
  rank: number,
  nowMs: number,
): string | undefined {
  const keep = keepOf(retention, entry.model_type);
  if (keep !== undefined && rank > keep) {
    return `${rank - 1} of type ${entry.model_type} are newer, and ${keep} are kept`;
  }
  const { untagged_days: days } = retention;
  if (days === undefined || peoplesTags(entry).length > 0) return undefined;
  const age = ageDays(entry, nowMs);
  if (age < days) return undefined;
  return `nobody tagged it, and it is ${Math.floor(age)} days old (${days} are kept)`;
}

function keptByRules(
  retention: Retention,
  entry: ModelEntry,
  rank: number,
  nowMs: number,
): string[] {
  if (!hasRules(retention)) return ["the room has no rules"];
  const keep = keepOf(retention, entry.model_type);
  const { untagged_days: days } = retention;
  const tags = peoplesTags(entry);
  return [
    ...(keep === undefined ? [] : [`number ${rank} of the ${keep} newest of its type`]),
    ...(days !== undefined && tags.length > 0 ? [`tagged ${tags.join(", ")}`] : []),
    ...(days !== undefined && tags.length === 0
      ? [`${Math.floor(ageDays(entry, nowMs))} days old, untagged ones go after ${days}`]
      : []),
    ...(keep === undefined && days === undefined ? ["no rule is for its type"] : []),
  ];
}

/** Tags that people have given, at publication or later. */
function peoplesTags({ tags }: ModelEntry): string[] {
  return tags.filter((tag) => !isAutomaticTag(tag));
}

function keepOf({ keep_per_type, per_type }: Retention, type: string): number | undefined {
  return Object.hasOwn(per_type, type) ? per_type[type] : keep_per_type;
}

function ageDays({ training }: ModelEntry, nowMs: number): number {
  return (nowMs - Date.parse(training.trained_at)) / DAY_MS;
}

/** Ids settle what was published in the same millisecond, so that every hub plans alike. */
function newestFirst(a: ModelEntry, b: ModelEntry): number {
  const [one, other] = [Date.parse(a.training.trained_at), Date.parse(b.training.trained_at)];
  return one === other ? (a.id < b.id ? -1 : 1) : other - one;
}

function rankByType(newest: readonly ModelEntry[]): Map<string, number> {
  const ranks = new Map<string, number>();
  const seen = new Map<string, number>();
  for (const { id, model_type } of newest) {
    const rank = (seen.get(model_type) ?? 0) + 1;
    seen.set(model_type, rank);
    ranks.set(id, rank);
  }
  return ranks;
}

/** `null` takes away, `undefined` leaves. */
function changed<T>(before: T | undefined, change: T | null | undefined): T | undefined {
  return change === undefined ? before : (change ?? undefined);
}

function isSame(one: Retention, other: Retention): boolean {
  const types = Object.keys({ ...one.per_type, ...other.per_type });
  return (
    one.keep_per_type === other.keep_per_type &&
    one.untagged_days === other.untagged_days &&
    one.grace_hours === other.grace_hours &&
    types.every((type) => one.per_type[type] === other.per_type[type])
  );
}

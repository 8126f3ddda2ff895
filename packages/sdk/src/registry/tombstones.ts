// How a model leaves a room, and comes back (docs/protocol/registry.md, "Keeping and removing"). Every step is a pure edit of the document, so the
// conditional write settles who was first: a removal or the move of an alias to it, a restore or the end of its bytes.
//
//   in models ── remove ─▶ held ── its time is over ─▶ purging ── bytes deleted ─▶ purged
//       ▲                    │ ▲                          │
//       └───── restore ──────┘ └─── still needed ─────────┘
import {
  type ModelEntry,
  type ModelId,
  type ModelRef,
  type Registry,
  type Tombstone,
  WaybillError,
} from "../protocol/index.ts";
import { type Edited, type Editor, resolveModel, signatureOf } from "./edits.ts";
import { holdsOf, textOfHold } from "./holds.ts";
import { hasRules, planRetention } from "./retention.ts";
import { markBestOfSweep } from "./sweeps.ts";

const HOUR_MS = 3_600_000;

/** What would be removed, and what keeps any of it. */
export type AskedRemoval = { readonly entry: ModelEntry; readonly heldBy: readonly string[] };

/** What a removal of these models would meet; those that are removed already are left out. Throws `not_found`. */
export function askRemoval(registry: Registry, refs: readonly ModelRef[]): AskedRemoval[] {
  const ids = new Set<string>();
  const entries: ModelEntry[] = [];
  for (const ref of refs) {
    if (tombstoneOf(registry, ref) !== undefined) continue;
    const entry = resolveModel(registry, ref);
    if (!ids.has(entry.id)) entries.push(entry);
    ids.add(entry.id);
  }
  const holds = holdsOf(registry, ids);
  return entries.map((entry) => ({
    entry,
    heldBy: (holds.get(entry.id) ?? []).map(textOfHold),
  }));
}

/**
 * Takes models out, all or none; idempotent. Throws `not_found`, and `conflict` when an alias, a pin or a pipeline that stays
 * holds one of them. The result has one tombstone for each model that was named.
 */
export function removeModels(
  registry: Registry,
  { models, why }: { readonly models: readonly ModelRef[]; readonly why: string },
  by: Editor,
): Edited<readonly Tombstone[]> {
  const asked = askRemoval(registry, models);
  const held = asked.filter(({ heldBy }) => heldBy.length > 0);
  if (held.length > 0) {
    const texts = held.map(
      ({ entry, heldBy }) => `model ${entry.id} is kept: ${heldBy.join(", ")}`,
    );
    throw new WaybillError("conflict", texts.join("; "), { hint: releaseHint(held) });
  }
  const before = [...new Set(models)].flatMap((ref) => tombstoneOf(registry, ref) ?? []);
  const buried = bury(
    registry,
    asked.map(({ entry }) => ({ entry, why })),
    by,
  );
  return { registry: buried.registry, result: [...before, ...buried.result] };
}

/** What lets go of models; nobody moves `latest-{type}` by hand. */
function releaseHint(held: readonly AskedRemoval[]): string {
  const holds = held.flatMap(({ heldBy }) => heldBy);
  if (holds.every((hold) => hold.startsWith("latest-"))) {
    return "the newest model of a type stays until a newer one is published";
  }
  return "point the alias elsewhere, unpin it, or remove the pipeline with it";
}

/**
 * Takes out what the room's rules let go, oldest first and at most `limit` of them: the plan is made of the document that is
 * written. A pipeline and its parts may leave in different writes: the parts after it.
 */
export function applyRetention(
  registry: Registry,
  by: Editor,
  {
    limit,
    used,
  }: { readonly limit: number; readonly used?: ReadonlyMap<string, string> | undefined },
): Edited<{ readonly buried: readonly Tombstone[]; readonly more: boolean }> {
  const none = { registry, result: { buried: [], more: false } };
  if (!hasRules(registry.retention)) return none;
  const { goes } = planRetention(registry, Date.parse(by.when), used);
  if (goes.length === 0) return none;
  const pipelinesFirst = goes.toSorted((a, b) => partRank(a.entry) - partRank(b.entry));
  const chosen = pipelinesFirst
    .slice(0, limit)
    .map(({ entry, why }) => ({ entry, why: `retention: ${why}` }));
  const buried = bury(registry, chosen, by);
  return {
    registry: buried.registry,
    result: { buried: buried.result, more: goes.length > chosen.length },
  };
}

/**
 * Brings a removed model back; idempotent. When the room's rules would remove it again at once, it is pinned. Throws
 * `not_found`, and `expired` when its bytes are being removed or gone.
 */
export function restoreModel(registry: Registry, id: ModelId, by: Editor): Edited<ModelEntry> {
  const present = Object.hasOwn(registry.models, id) ? registry.models[id] : undefined;
  if (present !== undefined) return { registry, result: present };
  const tombstone = tombstoneOf(registry, id);
  if (tombstone === undefined) {
    throw new WaybillError("not_found", `no model ${id} was removed from room ${registry.room}`, {
      hint: "see `waybill model removed`",
    });
  }
  if (tombstone.state !== "held" || bytesGone(registry, tombstone.entry)) {
    throw new WaybillError("expired", `the bytes of model ${id} are gone: ${tombstone.why}`);
  }
  const tombstones = { ...registry.tombstones };
  delete tombstones[id];
  const models = { ...registry.models, [id]: tombstone.entry };
  const { sweep } = tombstone.entry.training;
  const marked = sweep === undefined ? models : markBestOfSweep(models, sweep);
  const entry = marked[id] ?? tombstone.entry;
  const next = { ...registry, models: marked, tombstones };
  const { goes } = planRetention(next, Date.parse(by.when));
  if (!goes.some((going) => going.entry.id === id)) return { registry: next, result: entry };
  const why = "restored; the room's rules would remove it again";
  const pinned: ModelEntry = { ...entry, pinned: { ...signatureOf(by), when: by.when, why } };
  return {
    registry: { ...next, models: { ...next.models, [id]: pinned } },
    result: pinned,
  };
}

/** Removed models whose bytes may go now, or are going: what is under way first, then the longest over. */
export function duePurges(registry: Registry, nowMs: number): Tombstone[] {
  return Object.values(registry.tombstones)
    .filter((one) => one.state === "purging" || isDue(registry, one, nowMs))
    .toSorted(
      (a, b) =>
        Number(b.state === "purging") - Number(a.state === "purging") ||
        a.bytes_until.localeCompare(b.bytes_until),
    );
}

/** Whose folder another model needs, whatever the time: both have the same content, and one of them no bytes of its own. */
export function folderNeededBy(
  registry: Registry,
  { entry }: Tombstone,
  nowMs: number,
): ModelId | undefined {
  const shares = (other: ModelEntry) =>
    other.id !== entry.id && other.storage.s3_path === entry.storage.s3_path;
  const model = Object.values(registry.models).find(shares);
  if (model !== undefined) return model.id;
  const removed = Object.values(registry.tombstones).find(
    (one) => shares(one.entry) && one.state === "held" && Date.parse(one.bytes_until) > nowMs,
  );
  return removed?.entry.id;
}

/** Marks removed models whose time is over: from now on none of them comes back. Answers which of `ids` are `purging` now. */
export function beginPurge(
  registry: Registry,
  ids: readonly ModelId[],
  nowMs: number,
): Edited<readonly ModelId[]> {
  const due = ids.filter((id) => {
    const one = tombstoneOf(registry, id);
    return one?.state === "held" && isDue(registry, one, nowMs);
  });
  const next = withStates(registry, due, (one) => ({ ...one, state: "purging" }));
  const purging = ids.filter((id) => tombstoneOf(next, id)?.state === "purging");
  return { registry: next, result: purging };
}

/** Somebody came to need the bytes before any of them went. */
export function cancelPurge(registry: Registry, ids: readonly ModelId[]): Edited<void> {
  const next = withStates(registry, purgingOf(registry, ids), (one) => ({ ...one, state: "held" }));
  return { registry: next, result: undefined };
}

/** The bytes are gone; the tombstone stays. */
export function endPurge(registry: Registry, ids: readonly ModelId[], when: string): Edited<void> {
  const next = withStates(registry, purgingOf(registry, ids), (one) => ({
    ...one,
    state: "purged",
    purged_at: when,
  }));
  return { registry: next, result: undefined };
}

/** The tombstone of a removed model. */
function tombstoneOf({ tombstones }: Registry, id: string): Tombstone | undefined {
  return Object.hasOwn(tombstones, id) ? tombstones[id] : undefined;
}

function bury(
  registry: Registry,
  leaving: readonly { readonly entry: ModelEntry; readonly why: string }[],
  by: Editor,
): Edited<readonly Tombstone[]> {
  if (leaving.length === 0) return { registry, result: [] };
  const graceMs = registry.retention.grace_hours * HOUR_MS;
  const bytesUntil = new Date(Date.parse(by.when) + graceMs).toISOString();
  const models = { ...registry.models };
  const tombstones = { ...registry.tombstones };
  const result = leaving.map(({ entry, why }): Tombstone => {
    const { pinned: _, ...bare } = entry;
    const state = "held" as const;
    const facts = { when: by.when, why, bytes_until: bytesUntil };
    return { entry: bare, ...signatureOf(by), ...facts, state };
  });
  for (const tombstone of result) {
    delete models[tombstone.entry.id];
    tombstones[tombstone.entry.id] = tombstone;
  }
  const sweeps = result.flatMap(({ entry }) => entry.training.sweep ?? []);
  const marked = sweeps.reduce(markBestOfSweep, models);
  return { registry: { ...registry, models: marked, tombstones }, result };
}

function isDue(registry: Registry, tombstone: Tombstone, nowMs: number): boolean {
  return (
    tombstone.state === "held" &&
    Date.parse(tombstone.bytes_until) <= nowMs &&
    folderNeededBy(registry, tombstone, nowMs) === undefined
  );
}

/** Whether another model of the same folder has taken the bytes with it. */
function bytesGone({ tombstones }: Registry, { storage }: ModelEntry): boolean {
  return Object.values(tombstones).some(
    ({ entry, state }) => entry.storage.s3_path === storage.s3_path && state !== "held",
  );
}

function purgingOf(registry: Registry, ids: readonly ModelId[]): ModelId[] {
  return ids.filter((id) => tombstoneOf(registry, id)?.state === "purging");
}

function withStates(
  registry: Registry,
  ids: readonly ModelId[],
  change: (tombstone: Tombstone) => Tombstone,
): Registry {
  if (ids.length === 0) return registry;
  const tombstones = { ...registry.tombstones };
  for (const id of ids) {
    const one = tombstones[id];
    if (one !== undefined) tombstones[id] = change(one);
  }
  return { ...registry, tombstones };
}

/** Pipelines leave before what may be their parts. */
function partRank({ pipeline }: ModelEntry): number {
  return pipeline === undefined ? 1 : 0;
}

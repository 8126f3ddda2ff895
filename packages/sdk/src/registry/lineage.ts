// The graph around a model (docs/protocol/registry.md, Lineage): its ancestors (what it was fine-tuned from, the parts of a
// pipeline, and so on), its descendants, and what each of them was made from.
//
//   dataset ─┐                      ┌─▶ fine-tuned child ─▶ …
//   parent ──┼─▶ the model asked ───┤
//   job, code┘                      └─▶ pipeline it is a part of
//
// Ancestors of descendants and descendants of ancestors are other lines and not part of it.
import type {
  AliasMove,
  Lineage,
  LineageEdge,
  LineageModel,
  LineageNode,
  ModelDetails,
  ModelEntry,
  ModelId,
  ModelRef,
  Registry,
} from "../protocol/index.ts";
import { aliasesOf, resolveModel } from "./edits.ts";

type Found = { readonly entry: ModelEntry; readonly removed?: LineageModel["removed"] };

/**
 * Ancestors and descendants of a model up to `depth` generations each way (default: all). Removed models are part of
 * it. Throws `not_found`.
 */
export function lineageOf(
  registry: Registry,
  ref: ModelRef,
  { depth = Number.POSITIVE_INFINITY }: { readonly depth?: number } = {},
): Lineage {
  const root = findModel(registry, ref).entry.id;
  const descents = descentsOf(registry);
  const names = namesOf(registry);
  const nodes = new Map<string, LineageNode>();
  const edges = new Map<string, LineageEdge>();
  const add = (edge: LineageEdge) => edges.set(`${edge.from} ${edge.kind} ${edge.to}`, edge);

  const ancestors = within(root, depth, (id) => precursorsOf(known(registry, id)?.entry));
  const descendants = within(root, depth, (id) => descents.get(id) ?? []);
  const all = new Set([...ancestors.reached, ...descendants.reached]);
  const cut = new Set([...ancestors.cut, ...descendants.cut]);
  for (const id of all) {
    const found = known(registry, id);
    nodes.set(modelKey(id), modelNode(id, found, names.get(id) ?? [], cut.has(id)));
    if (found === undefined) continue;
    for (const { node, edge } of sourcesOf(found.entry)) {
      // The first one that has a name gives it.
      const before = nodes.get(node.key);
      if (before === undefined || !("name" in before)) nodes.set(node.key, node);
      add(edge);
    }
  }
  const bothIn = (line: { readonly reached: ReadonlySet<ModelId> }, step: Step) =>
    line.reached.has(step.from) && line.reached.has(step.to);
  for (const id of all) {
    for (const step of stepsTo(known(registry, id)?.entry)) {
      if (!bothIn(ancestors, step) && !bothIn(descendants, step)) continue;
      add({ from: modelKey(step.from), to: modelKey(step.to), kind: step.kind });
    }
  }
  return { root: modelKey(root), nodes: [...nodes.values()], edges: [...edges.values()] };
}

/** Everything the registry says of a model, removed ones included. Throws `not_found`. */
export function modelDetails(registry: Registry, ref: ModelRef): ModelDetails {
  const { entry } = findModel(registry, ref);
  const { id } = entry;
  const aliases = aliasesOf(registry, id);
  const stone = Object.hasOwn(registry.models, id) ? undefined : ownOf(registry.tombstones, id);
  const { entry: _, ...tombstone } = stone ?? {};
  const concerns = (move: AliasMove) =>
    move.to === id || move.from === id || aliases.includes(move.alias);
  const steps = (descentsOf(registry).get(id) ?? []).map(({ to, kind }) => ({ to, kind }));
  return {
    model: entry,
    aliases,
    protected_aliases: registry.protected_aliases.filter((name) => aliases.includes(name)),
    alias_history: registry.alias_history.filter(concerns),
    ...(stone === undefined ? {} : { tombstone: tombstone as ModelDetails["tombstone"] }),
    children: steps.filter(({ kind }) => kind === "parent").map(({ to }) => to),
    part_of: steps.filter(({ kind }) => kind === "part").map(({ to }) => to),
  };
}

type Step = { readonly from: ModelId; readonly to: ModelId; readonly kind: "parent" | "part" };

/** Models that an entry came from, directly. */
function stepsTo(entry: ModelEntry | undefined): Step[] {
  if (entry === undefined) return [];
  const to = entry.id;
  const parent = entry.training.parent_model;
  return [
    ...(parent === undefined ? [] : [{ from: parent, to, kind: "parent" as const }]),
    ...(entry.pipeline?.parts ?? []).map(({ model }) => ({
      from: model,
      to,
      kind: "part" as const,
    })),
  ];
}

const precursorsOf = (entry: ModelEntry | undefined) =>
  stepsTo(entry).map(({ from }) => ({ to: from }));

/** Every model's steps to those that came from it, removed ones included. */
function descentsOf(registry: Registry): Map<ModelId, Step[]> {
  const descents = new Map<ModelId, Step[]>();
  const entries = [
    ...Object.values(registry.tombstones).map(({ entry }) => entry),
    ...Object.values(registry.models),
  ];
  for (const step of entries.flatMap(stepsTo)) {
    const steps = descents.get(step.from);
    if (steps === undefined) descents.set(step.from, [step]);
    else if (!steps.some(({ to, kind }) => to === step.to && kind === step.kind)) steps.push(step);
  }
  return descents;
}

/** Models reached in at most `depth` steps, and those of them from which more would be. Circles end. */
function within(
  root: ModelId,
  depth: number,
  next: (id: ModelId) => readonly { readonly to: ModelId }[],
): { readonly reached: ReadonlySet<ModelId>; readonly cut: ReadonlySet<ModelId> } {
  const reached = new Set([root]);
  let front = [root];
  for (let steps = 0; steps < depth && front.length > 0; steps++) {
    const found = new Set(front.flatMap((id) => next(id).map(({ to }) => to)));
    front = [...found].filter((id) => !reached.has(id));
    for (const id of front) reached.add(id);
  }
  const leadsOut = (id: ModelId) => next(id).some(({ to }) => !reached.has(to));
  return { reached, cut: new Set(front.filter(leadsOut)) };
}

/** Data set, code and job of a model. */
function sourcesOf({ id, training }: ModelEntry): { node: LineageNode; edge: LineageEdge }[] {
  const to = modelKey(id);
  const { dataset, dataset_name, code, job } = training;
  const sources: LineageNode[] = [];
  if (dataset !== undefined) {
    const name = dataset_name === undefined ? {} : { name: dataset_name };
    sources.push({ key: `dataset:${dataset}`, kind: "dataset", id: dataset, ...name });
  }
  if (code !== undefined) sources.push({ key: `code:${code}`, kind: "code", id: code });
  if (job !== undefined) sources.push({ key: `job:${job}`, kind: "job", id: job });
  return sources.flatMap((node) =>
    node.kind === "model" ? [] : [{ node, edge: { from: node.key, to, kind: node.kind } }],
  );
}

function modelNode(
  id: ModelId,
  found: Found | undefined,
  aliases: readonly string[],
  isCut: boolean,
): LineageModel {
  const node = { key: modelKey(id), kind: "model" as const, id, aliases: [...aliases] };
  const more = isCut ? { more: true as const } : {};
  if (found === undefined) return { ...node, ...more };
  const { entry, removed } = found;
  const { trained_by, trained_at, imported } = entry.training;
  return {
    ...node,
    model_type: entry.model_type,
    trained_by,
    trained_at,
    ...(imported === undefined ? {} : { imported }),
    ...(removed === undefined ? {} : { removed }),
    ...more,
  };
}

const modelKey = (id: ModelId) => `model:${id}`;

/** A model of the registry, or one that was removed from it. */
function known(registry: Registry, id: ModelId): Found | undefined {
  const entry = ownOf(registry.models, id);
  if (entry !== undefined) return { entry };
  const stone = ownOf(registry.tombstones, id);
  return stone === undefined ? undefined : { entry: stone.entry, removed: stone.state };
}

function findModel(registry: Registry, ref: ModelRef): Found {
  return known(registry, ref as ModelId) ?? { entry: resolveModel(registry, ref) };
}

function ownOf<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** All names of all models, sorted. */
function namesOf(registry: Registry): Map<ModelId, string[]> {
  const names = new Map<ModelId, string[]>();
  for (const [name, id] of Object.entries(registry.aliases).sort(([a], [b]) => (a < b ? -1 : 1)))
    names.set(id, [...(names.get(id) ?? []), name]);
  return names;
}

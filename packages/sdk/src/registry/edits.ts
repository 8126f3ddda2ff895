// Pure edits of a room's registry document (docs/protocol/registry.md §2). Each answers the document that
// should be stored (the same object when nothing changes) and what its caller gets; run again on a newer
// document, it is right there. Who may call is decided elsewhere, but for protected aliases.
import {
  type Alias,
  type AliasMove,
  type ModelEntry,
  type ModelId,
  type ModelRef,
  REGISTRY_FORMAT_VERSION,
  type Registry,
  type RoomId,
  type Tag,
  type Timestamp,
  type Tombstone,
  WaybillError,
  isAutomaticTag,
} from "../protocol/index.ts";

/** The document to store and the caller's result; `registry` is the argument itself when nothing changed. */
export type Edited<R> = { readonly registry: Registry; readonly result: R };

/** Who edits, and when: what history records. */
export type Editor = {
  readonly who: string;
  /** Owners may move protected aliases. */
  readonly owner: boolean;
  readonly when: Timestamp;
};

/** Keys that JSON objects and schema libraries treat specially, so that no stored name may be one. */
const UNSTORABLE = new Set(["__proto__", "prototype", "constructor"]);

/** A room's registry before its first model. */
export function emptyRegistry(room: RoomId): Registry {
  return {
    format: REGISTRY_FORMAT_VERSION,
    room,
    revision: 0,
    write: "",
    models: {},
    aliases: {},
    protected_aliases: [],
    alias_history: [],
    tombstones: {},
    retention: { per_type: {}, grace_hours: 168 },
  };
}

/** The name under which the newest model of a type is found. */
export function latestAlias(modelType: string): string {
  return `latest-${modelType}`;
}

export type AliasTarget = {
  readonly alias: Alias;
  readonly model: ModelRef;
  /** Fails with `conflict` unless the alias points at this model before. */
  readonly expect?: ModelId | undefined;
  readonly why?: string | undefined;
};
export type AliasMoved = {
  readonly alias: Alias;
  readonly model: ModelId;
  readonly from?: ModelId;
};

/** Points an alias at a model. Throws `not_found`, `conflict` (see `expect`), `forbidden` (protected). */
export function moveAlias(registry: Registry, target: AliasTarget, by: Editor): Edited<AliasMoved> {
  const { alias, expect } = target;
  const { id } = resolveModel(registry, target.model);
  const from = aliasTarget(registry, alias);
  const result: AliasMoved = { alias, model: id, ...(from === undefined ? {} : { from }) };
  // Before `expect`: the same call again, after its answer was lost, must not fail.
  if (from === id) return { registry, result };
  if (expect !== undefined && from !== expect) {
    throw new WaybillError(
      "conflict",
      `alias ${alias} points at ${from ?? "no model"}, not at ${expect}`,
      { hint: "look at it again with `waybill model show`" },
    );
  }
  return { registry: pointAlias(registry, alias, id, by, target.why), result };
}

/** Removes an alias, keeping its history. Throws `not_found`, `forbidden` (protected). */
export function removeAlias(
  registry: Registry,
  alias: Alias,
  by: Editor,
  why?: string,
): Edited<{ readonly from: ModelId }> {
  const from = aliasTarget(registry, alias);
  if (from === undefined) throw new WaybillError("not_found", `there is no alias ${alias}`);
  assertMovable(registry, alias, by);
  const aliases = { ...registry.aliases };
  delete aliases[alias];
  const next = { ...registry, aliases };
  return {
    registry: {
      ...next,
      models: renamed(next, [from]),
      alias_history: [...registry.alias_history, moveOf(alias, from, undefined, by, why)],
    },
    result: { from },
  };
}

export type TagEdit = { readonly add: readonly Tag[]; readonly remove: readonly Tag[] };

/** Adds tags, then removes tags. Throws `not_found`; more than 256 tags, and automatic ones, are `invalid_request`. */
export function editTags(registry: Registry, ref: ModelRef, edit: TagEdit): Edited<ModelEntry> {
  const entry = resolveModel(registry, ref);
  assertPeoplesTags([...edit.add, ...edit.remove]);
  const gone = new Set<string>(edit.remove);
  const tags = unique([...entry.tags, ...edit.add]).filter((tag) => !gone.has(tag));
  if (tags.length > MAX_TAGS) {
    throw new WaybillError("invalid_request", `model ${entry.id} would have ${tags.length} tags`, {
      hint: `at most ${MAX_TAGS} are kept`,
    });
  }
  const same = tags.length === entry.tags.length && tags.every((tag, i) => tag === entry.tags[i]);
  if (same) return { registry, result: entry };
  const result = { ...entry, tags };
  return { registry: { ...registry, models: { ...registry.models, [entry.id]: result } }, result };
}

/** Throws `invalid_request` when one of the tags is kept by Waybill itself. */
export function assertPeoplesTags(tags: readonly Tag[]): void {
  const automatic = tags.find((tag) => isAutomaticTag(tag));
  if (automatic === undefined) return;
  throw new WaybillError(
    "invalid_request",
    `tag ${automatic} is given and taken by Waybill itself`,
    {
      hint: "use a name of your own: dataset-…, interrupted and best-of-sweep are automatic",
    },
  );
}

/** Keeps an entry's size sane; people use a handful. */
const MAX_TAGS = 256;

/** The model an id, alias or `latest-{type}` names; throws `not_found`. */
export function resolveModel(registry: Registry, ref: ModelRef): ModelEntry {
  const direct = modelOf(registry, ref);
  if (direct !== undefined) return direct;
  const id = aliasTarget(registry, ref);
  const entry = id === undefined ? undefined : modelOf(registry, id);
  if (entry !== undefined) return entry;
  if (Object.hasOwn(registry.tombstones, ref)) throw removedModel(registry, ref);
  throw new WaybillError("not_found", `no model ${ref} in room ${registry.room}`, {
    hint: "see `waybill model ls`",
  });
}

/** Every name that points at a model, automatic ones included, sorted. */
export function aliasesOf(registry: Registry, id: ModelId): string[] {
  return Object.keys(registry.aliases)
    .filter((alias) => registry.aliases[alias] === id)
    .sort();
}

/** Throws `forbidden` when the alias is protected and the editor is no owner. */
export function assertMovable(registry: Registry, alias: Alias, by: Pick<Editor, "owner">): void {
  if (UNSTORABLE.has(alias)) {
    throw new WaybillError("invalid_request", `${alias} cannot be an alias`);
  }
  if (by.owner || !registry.protected_aliases.includes(alias)) return;
  throw new WaybillError("forbidden", `alias ${alias} is protected`, {
    hint: "the room's owner can move it",
  });
}

/** Points an alias at a model that is there, with its history; throws `forbidden` (protected). */
export function pointAlias(
  registry: Registry,
  alias: Alias,
  to: ModelId,
  by: Editor,
  why: string | undefined,
): Registry {
  assertMovable(registry, alias, by);
  const from = aliasTarget(registry, alias);
  if (from === to) return registry;
  const next = { ...registry, aliases: { ...registry.aliases, [alias]: to } };
  const models = renamed(next, from === undefined ? [] : [from]);
  const entry = models[to];
  return {
    ...next,
    models: entry === undefined ? models : { ...models, [to]: { ...entry, alias } },
    alias_history: [...registry.alias_history, moveOf(alias, from, to, by, why)],
  };
}

/** The models after `ids` may have lost the alias their entry shows. */
function renamed(registry: Registry, ids: readonly ModelId[]): Registry["models"] {
  const models = { ...registry.models };
  for (const id of ids) {
    const entry = models[id];
    if (entry?.alias === undefined || registry.aliases[entry.alias] === id) continue;
    const { alias: _, ...rest } = entry;
    const other = aliasesOf(registry, id).find((name) => !name.startsWith("latest-"));
    models[id] = other === undefined ? rest : { ...rest, alias: other as Alias };
  }
  return models;
}

function moveOf(
  alias: Alias,
  from: ModelId | undefined,
  to: ModelId | undefined,
  by: Editor,
  why: string | undefined,
): AliasMove {
  return {
    alias,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    who: by.who,
    when: by.when,
    ...(why === undefined ? {} : { why }),
  };
}

/** Says what became of a removed model. */
export function removedModel({ tombstones }: Registry, id: string): WaybillError {
  const { who, when, why, state } = tombstones[id] as Tombstone;
  const what = `model ${id} was removed by ${who} on ${when.slice(0, 10)}: ${why}`;
  const hint =
    state === "held"
      ? `bring it back: \`waybill model restore ${id}\``
      : "see what it was: `waybill model removed`";
  return new WaybillError("not_found", what, { hint });
}

function modelOf(registry: Registry, id: string): ModelEntry | undefined {
  return Object.hasOwn(registry.models, id) ? registry.models[id] : undefined;
}

function aliasTarget(registry: Registry, alias: string): ModelId | undefined {
  return Object.hasOwn(registry.aliases, alias) ? registry.aliases[alias] : undefined;
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

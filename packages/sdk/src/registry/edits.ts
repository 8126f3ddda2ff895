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
  type Timestamp,
  type Tombstone,
  WaybillError,
} from "../protocol/index.ts";

/** The document to store and the caller's result; `registry` is the argument itself when nothing changed. */
export type Edited<R> = { readonly registry: Registry; readonly result: R };

/** Who edits, and when: what history records. */
export type Editor = {
  readonly who: string;
  /** What they call themselves. */
  readonly by?: string | undefined;
  /** Owners may move protected aliases. */
  readonly owner: boolean;
  readonly when: Timestamp;
};

/** Who somebody is and what they call themselves, as records keep it. */
export function signatureOf({ who, by }: Editor): { readonly who: string; readonly by?: string } {
  return { who, ...(by === undefined ? {} : { by }) };
}

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
  why: string,
  gate?: AliasMove["gate"],
): Registry {
  assertMovable(registry, alias, by);
  const from = aliasTarget(registry, alias);
  if (from === to) return registry;
  const next = { ...registry, aliases: { ...registry.aliases, [alias]: to } };
  // A copy of this function's own: thousands of entries are copied once.
  const models = renamed(next, from === undefined ? [] : [from]);
  const entry = models[to];
  if (entry !== undefined) models[to] = { ...entry, alias };
  return {
    ...next,
    models,
    alias_history: [...registry.alias_history, moveOf({ alias, from, to, why, gate }, by)],
  };
}

/** A copy of the models after `ids` may have lost the alias their entry shows. */
export function renamed(registry: Registry, ids: readonly ModelId[]): Registry["models"] {
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

type MoveFacts = { readonly [K in keyof Omit<AliasMove, "who" | "by" | "when">]: AliasMove[K] };

/** A record for the history, without the members that are undefined. */
export function moveOf(facts: MoveFacts, { who, by, when }: Editor): AliasMove {
  const { alias, from, to, why, gate, protection } = facts;
  return {
    alias,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    who,
    ...(by === undefined ? {} : { by }),
    when,
    ...(why === undefined ? {} : { why }),
    ...(protection === undefined ? {} : { protection }),
    ...(gate === undefined ? {} : { gate }),
  };
}

/** Says what became of a removed model. */
export function removedModel({ tombstones }: Registry, id: string): WaybillError {
  const { who, by = who, when, why, state } = tombstones[id] as Tombstone;
  const what = `model ${id} was removed by ${by} on ${when.slice(0, 10)}: ${why}`;
  const hint =
    state === "held"
      ? `bring it back: \`waybill model restore ${id}\``
      : "see what it was: `waybill model removed`";
  return new WaybillError("not_found", what, { hint });
}

/** A model by its id. */
export function modelOf(registry: Registry, id: string): ModelEntry | undefined {
  return Object.hasOwn(registry.models, id) ? registry.models[id] : undefined;
}

/** Where an alias points, automatic ones included. */
export function aliasTarget(registry: Registry, alias: string): ModelId | undefined {
  return Object.hasOwn(registry.aliases, alias) ? registry.aliases[alias] : undefined;
}

// The journal of a registry (docs/protocol/registry-storage.md §2): what a write changed, and a document brought on by it.
import {
  type JournalRecord,
  REGISTRY_FORMAT_VERSION,
  type Registry,
  type RegistryChanges,
  type Timestamp,
} from "../protocol/index.ts";

/** Members that a record tells of item by item; every other one is told whole. */
const ITEMISED = new Set([
  "format",
  "room",
  "revision",
  "write",
  "models",
  "aliases",
  "tombstones",
  "alias_history",
]);

/** The parent of a record whose write came after one that left none: a document of format 1. */
export const UNRECORDED = "unrecorded";

/** The next revision of a registry, under the name of the write that makes it. */
export function revised(registry: Registry, write: string): Registry {
  return { ...registry, revision: registry.revision + 1, write };
}

/** What the write that made `after` of `before` is remembered by. */
export function recordOf(before: Registry, after: Registry, at: Timestamp): JournalRecord {
  return {
    format: REGISTRY_FORMAT_VERSION,
    room: after.room,
    revision: after.revision,
    write: after.write,
    parent: before.write === "" && !isEmpty(before) ? UNRECORDED : before.write,
    at,
    changes: changesBetween(before, after),
  };
}

function changesBetween(before: Registry, after: Registry): RegistryChanges {
  const fields: Record<string, unknown> = {};
  const [was, is] = [before, after] as unknown as [Fields, Fields];
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (!ITEMISED.has(name) && was[name] !== is[name]) fields[name] = is[name] ?? null;
  }
  const { length } = before.alias_history;
  const appended = before.alias_history[length - 1] === after.alias_history[length - 1];
  if (!appended) fields["alias_history"] = after.alias_history;
  return {
    models: changedItems(before.models, after.models),
    aliases: changedItems(before.aliases, after.aliases),
    tombstones: changedItems(before.tombstones, after.tombstones),
    history: appended ? after.alias_history.slice(length) : [],
    fields,
  };
}

type Fields = Readonly<Record<string, unknown>>;

function changedItems<T>(
  before: Readonly<Record<string, T>>,
  after: Readonly<Record<string, T>>,
): Record<string, T | null> {
  const changed: Record<string, T | null> = {};
  if (before === after) return changed;
  for (const key of Object.keys(after)) {
    const item = after[key];
    if (item !== undefined && before[key] !== item) changed[key] = item;
  }
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) changed[key] = null;
  return changed;
}

/** The registry after writes that followed one another, oldest first, unchecked. */
export function withRecords(registry: Registry, records: readonly JournalRecord[]): Registry {
  const next = {
    ...registry,
    models: { ...registry.models },
    aliases: { ...registry.aliases },
    tombstones: { ...registry.tombstones },
    alias_history: [...registry.alias_history],
  };
  for (const { revision, write, changes } of records) {
    for (const [name, value] of Object.entries(changes.fields)) {
      if (value === null) Reflect.deleteProperty(next, name);
      else Object.assign(next, { [name]: value });
    }
    applyItems(next.models, changes.models);
    applyItems(next.aliases, changes.aliases);
    applyItems(next.tombstones, changes.tombstones);
    next.alias_history = [...next.alias_history, ...changes.history];
    Object.assign(next, { revision, write });
  }
  return next;
}

function applyItems<T>(
  items: Record<string, T>,
  changes: Readonly<Record<string, T | null>>,
): void {
  for (const [key, item] of Object.entries(changes)) {
    if (item === null) delete items[key];
    else items[key] = item;
  }
}

function isEmpty({ models, aliases, alias_history, protected_aliases }: Registry): boolean {
  const items = [models, aliases, alias_history, protected_aliases];
  return items.every((each) => Object.keys(each).length === 0);
}

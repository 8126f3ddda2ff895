// Pins: a model that is kept whatever the room's rules say.
import type { ModelEntry, ModelRef, Registry } from "../protocol/index.ts";
import { type Edited, type Editor, resolveModel, signatureOf } from "./edits.ts";

/** Pins a model; pinned already for the same reason, nothing changes. Throws `not_found`. */
export function pinModel(
  registry: Registry,
  ref: ModelRef,
  why: string | undefined,
  by: Editor,
): Edited<ModelEntry> {
  const entry = resolveModel(registry, ref);
  if (entry.pinned !== undefined && (why === undefined || entry.pinned.why === why)) {
    return { registry, result: entry };
  }
  const pinned = { ...signatureOf(by), when: by.when, ...(why === undefined ? {} : { why }) };
  return withEntry(registry, { ...entry, pinned });
}

/** Takes the pin away; without one, nothing changes. Throws `not_found`. */
export function unpinModel(registry: Registry, ref: ModelRef): Edited<ModelEntry> {
  const entry = resolveModel(registry, ref);
  if (entry.pinned === undefined) return { registry, result: entry };
  const { pinned: _, ...rest } = entry;
  return withEntry(registry, rest);
}

function withEntry(registry: Registry, entry: ModelEntry): Edited<ModelEntry> {
  return {
    registry: { ...registry, models: { ...registry.models, [entry.id]: entry } },
    result: entry,
  };
}

// What people write on models: tags and notes (docs/protocol/registry.md, Names). Pure edits.
import {
  type ModelEntry,
  type ModelId,
  type ModelRef,
  type Registry,
  type Tag,
  WaybillError,
  isAutomaticTag,
} from "../protocol/index.ts";
import { type Edited, type Editor, resolveModel } from "./edits.ts";

export type TagEdit = { readonly add: readonly Tag[]; readonly remove: readonly Tag[] };

/** Keeps an entry's size sane; people use a handful. */
const MAX_TAGS = 256;

/** Adds tags, then removes tags. Throws `not_found`; more than 256 tags, and automatic ones, are `invalid_request`. */
export function editTags(registry: Registry, ref: ModelRef, edit: TagEdit): Edited<ModelEntry> {
  assertPeoplesTags([...edit.add, ...edit.remove]);
  const entry = resolveModel(registry, ref);
  const result = tagged(entry, edit);
  return result === entry ? { registry, result } : { registry: stored(registry, [result]), result };
}

/** What became of one model of several. */
export type Tagged = {
  readonly id: ModelId;
  readonly tags: Tag[];
  readonly changed: boolean;
};

/** The same edit of several models, each once: of all or, when it throws as `editTags`, of none. */
export function tagModels(
  registry: Registry,
  refs: readonly ModelRef[],
  edit: TagEdit,
): Edited<Tagged[]> {
  assertPeoplesTags([...edit.add, ...edit.remove]);
  const entries = new Set(refs.map((ref) => resolveModel(registry, ref)));
  const pairs = Array.from(entries, (entry) => ({ entry, after: tagged(entry, edit) }));
  const changed = pairs.filter(({ entry, after }) => after !== entry);
  return {
    registry:
      changed.length === 0
        ? registry
        : stored(
            registry,
            changed.map(({ after }) => after),
          ),
    result: pairs.map(({ entry, after }) => ({
      id: after.id,
      tags: after.tags,
      changed: after !== entry,
    })),
  };
}

/** The entry itself when its tags stay. */
function tagged(entry: ModelEntry, edit: TagEdit): ModelEntry {
  const gone = new Set<string>(edit.remove);
  const tags = [...new Set([...entry.tags, ...edit.add])].filter((tag) => !gone.has(tag));
  if (tags.length > MAX_TAGS) {
    throw new WaybillError("invalid_request", `model ${entry.id} would have ${tags.length} tags`, {
      hint: `at most ${MAX_TAGS} are kept`,
    });
  }
  const same = tags.length === entry.tags.length && tags.every((tag, i) => tag === entry.tags[i]);
  return same ? entry : { ...entry, tags };
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

/** Replaces a model's notes, or clears them with an empty text; says who wrote them. Throws `not_found`. */
export function setNote(
  registry: Registry,
  ref: ModelRef,
  text: string,
  { who, by, when }: Editor,
): Edited<{ readonly model: ModelEntry; readonly before?: string }> {
  const entry = resolveModel(registry, ref);
  const { notes, noted: _, ...rest } = entry;
  const before = notes === undefined ? {} : { before: notes };
  if (text === (notes ?? "")) return { registry, result: { model: entry, ...before } };
  const noted = { who, ...(by === undefined ? {} : { by }), when };
  const model = { ...rest, ...(text === "" ? {} : { notes: text }), noted };
  return { registry: stored(registry, [model]), result: { model, ...before } };
}

function stored(registry: Registry, entries: readonly ModelEntry[]): Registry {
  const changed = Object.fromEntries(entries.map((entry) => [entry.id, entry]));
  return { ...registry, models: { ...registry.models, ...changed } };
}

// What kinds of models are known. Types are open (any name of a ModelType is one); SLEAP's are known by name, so that
// misspelling one can be told, and so are pipelines: types that are made of models of other types.
import { ModelType } from "./ids.ts";
import * as v from "valibot";

const typed = (...names: readonly string[]) => names.map((name) => v.parse(ModelType, name));

/** Pipelines by type: the types of their parts, in the order they run in. */
const PIPELINES: ReadonlyMap<string, readonly ModelType[]> = new Map([
  ["topdown", typed("centroid", "centered_instance")],
]);

/** SLEAP's model types, pipelines included. */
export const KNOWN_MODEL_TYPES: readonly ModelType[] = typed(
  "single_instance",
  "centroid",
  "centered_instance",
  "bottomup",
  "multi_class_bottomup",
  "multi_class_topdown",
  ...PIPELINES.keys(),
);

/** The types of the parts of a pipeline type, in the order they run in; undefined when the type is a single model's. */
export function partTypesOf(type: string): readonly ModelType[] | undefined {
  return PIPELINES.get(type);
}

/** The known type that somebody probably meant: one that differs in case, hyphens or at most two letters. */
export function meantModelType(text: string): ModelType | undefined {
  const plain = plainOf(text);
  if (KNOWN_MODEL_TYPES.some((type) => type === text)) return undefined;
  const near = KNOWN_MODEL_TYPES.map((type) => ({ type, apart: distance(plain, plainOf(type)) }))
    .filter(({ apart }) => apart <= Math.min(2, Math.floor(plain.length / 4)))
    .sort((a, b) => a.apart - b.apart);
  return near[0]?.type;
}

function plainOf(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, swap));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

// What was found out about a folder that holds a model.
import { ModelType, Tag, isAutomaticTag } from "@waybill/sdk/protocol";
import * as v from "valibot";

type ModelFormat = "sleap" | "huggingface" | "checkpoint" | "waybill" | "folder";

export type Detected = {
  readonly format: ModelFormat;
  /** undefined: nothing in the folder says it. */
  readonly modelType?: ModelType | undefined;
  readonly config: Record<string, unknown>;
  readonly metrics: Record<string, unknown>;
  readonly tags: readonly Tag[];
  readonly notes?: string | undefined;
  readonly runName?: string | undefined;
  readonly seed?: number | undefined;
  /** What was detected, and from what. */
  readonly found: readonly (readonly [what: string, from: string])[];
  /** What was looked for and is not there. */
  readonly missing: readonly string[];
  readonly warnings: readonly string[];
};

/** A model type made of another name (`GPTNeoX-for LM` → `gptneox_for_lm`); undefined when nothing is left of it. */
export function modelTypeOf(text: string): ModelType | undefined {
  const plain = text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .replace(/^[^a-z]+/, "")
    .slice(0, 48)
    .replace(/_+$/, "");
  const parsed = v.safeParse(ModelType, plain);
  return parsed.success ? parsed.output : undefined;
}

/** The texts that can be tags, and how many cannot. Tags that Waybill gives by itself are left out. */
export function tagsOf(texts: readonly unknown[]): { tags: Tag[]; refused: number } {
  const given = texts.filter((text) => typeof text !== "string" || !isAutomaticTag(text));
  const tags = given.flatMap((text) => {
    const parsed = v.safeParse(Tag, text);
    return parsed.success ? [parsed.output] : [];
  });
  return { tags: [...new Set(tags)].slice(0, MAX_TAGS), refused: given.length - tags.length };
}

/** People look at a handful. */
const MAX_TAGS = 32;

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A member of nested objects, or undefined. */
export function memberOf(value: unknown, ...names: readonly string[]): unknown {
  let current = value;
  for (const name of names) {
    if (!isRecord(current) || !Object.hasOwn(current, name)) return undefined;
    current = current[name];
  }
  return current;
}

export function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

// YAML between two lines of dashes at the head of a Markdown page, as model cards have it.
import { parse as parseYaml, stringify as yamlText } from "yaml";
import { isRecord } from "./detected.ts";

const FRONT = /^\uFEFF?---[ \t]*\r?\n([\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)/;

/** Its members; undefined when there is none, or it cannot be read. */
export function frontMatter(page: string): Record<string, unknown> | undefined {
  const yaml = FRONT.exec(page)?.[1];
  if (yaml === undefined) return undefined;
  try {
    const value: unknown = parseYaml(yaml, { maxAliasCount: 100 });
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The page with these members at its head. */
export function withFrontMatter(members: Record<string, unknown>, body: string): string {
  return `---\n${yamlText(members, { lineWidth: 0, aliasDuplicateObjects: false })}---\n\n${body}`;
}

// A registry as text. An edit changes a few entries of thousands, and documents are values: what an entry looked like
// as text is remembered beside it, and the document is put together from that.
import type { Registry } from "../protocol/index.ts";

/** Text of entries, tombstones and alias moves, which are never mutated. */
const texts = new WeakMap<object, string>();

/** `JSON.stringify(registry)`, several times as fast when little has changed since the last time. */
export function encodeRegistry(registry: Registry): string {
  const members: string[] = [];
  for (const [name, value] of Object.entries(registry)) {
    if (value === undefined) continue;
    members.push(`${JSON.stringify(name)}:${encodeMember(name, value)}`);
  }
  return `{${members.join(",")}}`;
}

function encodeMember(name: string, value: unknown): string {
  if (name === "models" || name === "tombstones") {
    const items: string[] = [];
    const entries = value as Readonly<Record<string, object>>;
    for (const key of Object.keys(entries)) {
      items.push(`${JSON.stringify(key)}:${textOf(entries[key] ?? {})}`);
    }
    return `{${items.join(",")}}`;
  }
  if (name === "alias_history") return `[${(value as readonly object[]).map(textOf).join(",")}]`;
  return JSON.stringify(value);
}

function textOf(value: object): string {
  let text = texts.get(value);
  if (text === undefined) {
    text = JSON.stringify(value);
    texts.set(value, text);
  }
  return text;
}

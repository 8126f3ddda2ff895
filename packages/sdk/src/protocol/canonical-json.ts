// RFC 8785: the one JSON text of a value, so that what is signed or hashed can be written down again anywhere.

/** A value that JSON can hold; numbers must be finite, strings well-formed. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };

/** Members sorted by their names' UTF-16 units, no white space; members that are `undefined` are left out. */
export function canonicalJson(value: JsonValue): string {
  // ECMAScript writes numbers and strings as RFC 8785 §3.2.2 asks.
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const members = Object.entries(value)
    .filter((entry): entry is [string, JsonValue] => entry[1] !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
  return `{${members.join(",")}}`;
}

function isList(value: object): value is readonly JsonValue[] {
  return Array.isArray(value);
}

// Members that a schema does not know come along (docs/protocol/registry-storage.md §1): a hub of today that edits a document
// that a later hub of the same format has written loses nothing of it.

/** Keys that schema libraries drop because objects treat them specially. */
const UNSTORABLE = new Set(["__proto__", "prototype", "constructor"]);

/**
 * `decoded`, with those members of `raw` that decoding has left out, at any depth. The very same object when there
 * are none.
 */
export function carryUnknown<T>(raw: unknown, decoded: T): T {
  if (Array.isArray(raw) && Array.isArray(decoded)) {
    const carried = decoded.map((item: unknown, i) => carryUnknown(raw[i], item));
    return (carried.some((item, i) => item !== decoded[i]) ? carried : decoded) as T;
  }
  if (!isObject(raw) || !isObject(decoded)) return decoded;
  let carried: Record<string, unknown> | undefined;
  for (const key of Object.keys(raw)) {
    if (UNSTORABLE.has(key)) continue;
    const known = Object.hasOwn(decoded, key);
    const value = known ? carryUnknown(raw[key], decoded[key]) : raw[key];
    if (known && value === decoded[key]) continue;
    carried ??= { ...decoded };
    carried[key] = value;
  }
  return (carried ?? decoded) as T;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

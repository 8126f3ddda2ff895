// Where a page of a query ended, as an opaque text that the next page is asked with. It holds the place of the last row,
// so that it means the same on every hub and however the registry has changed since.
import * as v from "valibot";
import { ModelId, WaybillError } from "../protocol/index.ts";

/** Where a model stands in an order. */
export type Place = {
  /** What is sorted by; null for models that lack it. */
  readonly key: number | string | null;
  readonly trainedMs: number;
  readonly id: ModelId;
};

const Cursor = v.strictTuple([
  v.string(),
  v.nullable(v.union([v.number(), v.string()])),
  v.number(),
  ModelId,
]);

/** The cursor behind a row; `order` names the order it is of. */
export function writeCursor({ key, trainedMs, id }: Place, order: string): string {
  const text = JSON.stringify([order, key, trainedMs, id]);
  return btoa(encodeURIComponent(text))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
}

/** Throws `invalid_request` unless it is a cursor of this order. */
export function readCursor(cursor: string, order: string): Place {
  const read = v.safeParse(Cursor, decoded(cursor));
  if (read.success && read.output[0] === order) {
    const [, key, trainedMs, id] = read.output;
    return { key, trainedMs, id };
  }
  throw new WaybillError(
    "invalid_request",
    read.success
      ? `the cursor is of a list sorted otherwise (${read.output[0]})`
      : "the cursor is none that a list gave",
    { hint: "begin again without one" },
  );
}

function decoded(cursor: string): unknown {
  try {
    return JSON.parse(decodeURIComponent(atob(cursor.replaceAll("-", "+").replaceAll("_", "/"))));
  } catch {
    return undefined;
  }
}

// The one edge where bytes become messages: size check, JSON, schema. Everything behind it trusts its types.
import * as v from "valibot";
import { WaybillError } from "./errors.ts";

type Schema<T> = v.GenericSchema<unknown, T>;

/** Decodes a JSON text into `schema`'s type; throws `too_large` or `invalid_request` naming `what` and the field. */
export function decodeJson<T>(schema: Schema<T>, text: string, what: string, maxBytes: number): T {
  // A UTF-16 length is a lower bound of the UTF-8 length, which is enough to refuse floods early.
  if (text.length > maxBytes) {
    throw new WaybillError(
      "too_large",
      `${what} has ${text.length} bytes; at most ${maxBytes} are allowed`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WaybillError("invalid_request", `${what} is not JSON`, { cause });
  }
  return decodeValue(schema, value, what);
}

/** Validates a parsed value; throws `invalid_request` with every field that is wrong. */
export function decodeValue<T>(schema: Schema<T>, value: unknown, what: string): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw new WaybillError("invalid_request", `${what}: ${describeIssues(result.issues)}`);
}

/** `field.path: reason` for each of the first five issues. */
export function describeIssues(issues: readonly v.BaseIssue<unknown>[]): string {
  const lines = issues.slice(0, 5).map((issue) => {
    const path = v.getDotPath(issue);
    return path === null ? issue.message : `${path}: ${issue.message}`;
  });
  const rest = issues.length > 5 ? ` (and ${issues.length - 5} more)` : "";
  return lines.join("; ") + rest;
}

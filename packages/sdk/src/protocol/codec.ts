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
    const reason = reasonOf(issue);
    return path === null ? reason : `${path}: ${reason}`;
  });
  const rest = issues.length > 5 ? ` (and ${issues.length - 5} more)` : "";
  return lines.join("; ") + rest;
}

/** The schema's own words; for lengths, which have none, a sentence instead of `Expected <=1024 but received 5000`. */
function reasonOf({ type, message, received, input, ...rest }: v.BaseIssue<unknown>): string {
  if (!message.startsWith("Invalid length")) return message;
  const unit = Array.isArray(input) ? "items" : "characters";
  const bound = type === "max_length" ? "at most" : "at least";
  return `${bound} ${String(rest.requirement)} ${unit}, not ${received}`;
}

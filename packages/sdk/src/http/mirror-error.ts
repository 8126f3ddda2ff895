// What a mirror's refusal means: of an object, of the mirror as a whole, or of this moment.
import { type ErrorCode, WaybillError } from "../protocol/index.ts";
import type { Refusal } from "./ranged-get.ts";

/**
 * `not_found` rules out that object there (also 403: public buckets answer so for what they do not have),
 * `rate_limited` and `storage_failed` pass, `invalid_request` does not.
 */
export function mirrorError(key: string, url: string, refusal: Refusal): WaybillError {
  const { status } = refusal;
  const after = retryAfterMs(refusal.header("retry-after"), Date.now());
  return new WaybillError(
    codeOf(status),
    `mirror ${new URL(url).host} refused ${key} with ${status}`,
    after === undefined ? {} : { retryAfterMs: after },
  );
}

function codeOf(status: number): ErrorCode {
  if (status === 429 || status === 503) return "rate_limited";
  if (status === 408 || status === 425 || status >= 500) return "storage_failed";
  // 416: it is shorter there than the manifest says. 507: a cache that would fetch it has not the room.
  if ([401, 403, 404, 410, 416, 451, 507].includes(status)) return "not_found";
  return "invalid_request";
}

/** `Retry-After` (RFC 9110 §10.2.3), seconds or a date, as milliseconds from now; undefined when absent or past. */
export function retryAfterMs(text: string | undefined, nowEpochMs: number): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - nowEpochMs;
  return ms > 0 ? ms : undefined;
}

/**
 * Conditional requests: RFC 9110 §13 for reads and copy sources, and S3's conditional writes
 * (`If-None-Match: *` creates, `If-Match` replaces what one has seen).
 */
import type { StoredObject } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import type { S3Request } from "./s3-request.ts";

/** The four conditions a read can carry, as header values. */
export interface ReadConditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
  readonly ifUnmodifiedSince: string | undefined;
}

/** Conditions from headers, named with a prefix for copy sources (`x-amz-copy-source-`). */
export function readConditions(request: S3Request, prefix = ""): ReadConditions {
  return {
    ifMatch: request.header(`${prefix}if-match`),
    ifNoneMatch: request.header(`${prefix}if-none-match`),
    ifModifiedSince: request.header(`${prefix}if-modified-since`),
    ifUnmodifiedSince: request.header(`${prefix}if-unmodified-since`),
  };
}

/**
 * Evaluates in RFC 9110 §13.2.2 order.
 *
 * @returns false when the client's copy is current (answer 304, or 412 for a copy)
 * @throws S3Error `PreconditionFailed`
 */
export function holdsForRead(
  conditions: ReadConditions,
  object: Pick<StoredObject, "etag" | "modified">,
): boolean {
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = conditions;
  if (ifMatch !== undefined) {
    if (!matchesEtag(ifMatch, object.etag)) throw failed("If-Match");
  } else if (ifUnmodifiedSince !== undefined) {
    const since = Date.parse(ifUnmodifiedSince);
    if (wholeSeconds(object.modified) > since) throw failed("If-Unmodified-Since");
  }
  if (ifNoneMatch !== undefined) return !matchesEtag(ifNoneMatch, object.etag);
  if (ifModifiedSince === undefined) return true;
  const since = Date.parse(ifModifiedSince);
  return Number.isNaN(since) || wholeSeconds(object.modified) > since;
}

/** What a write demands of the object it replaces. */
export interface WriteCondition {
  readonly ifMatch: string | undefined;
  readonly createOnly: boolean;
}

/** @throws S3Error `NotImplemented` for forms S3 does not have either */
export function writeCondition(request: S3Request): WriteCondition {
  const ifMatch = request.header("if-match");
  const ifNoneMatch = request.header("if-none-match");
  if (ifNoneMatch !== undefined && ifNoneMatch.trim() !== "*") {
    throw new S3Error("NotImplemented", {
      details: { Header: "If-None-Match" },
    });
  }
  if (ifNoneMatch !== undefined && ifMatch !== undefined) {
    throw new S3Error("NotImplemented", {
      details: { Header: "If-None-Match" },
    });
  }
  return { ifMatch, createOnly: ifNoneMatch !== undefined };
}

/**
 * Checks a write's condition; called inside the transaction that writes.
 *
 * @param existedBefore whether the object was there when the request began: when it has been
 *   deleted meanwhile, S3 answers a conflict to retry rather than "not found"
 * @throws S3Error `PreconditionFailed`, `NoSuchKey`, `ConditionalRequestConflict`
 */
export function checkWrite(
  condition: WriteCondition,
  key: string,
  existing: Pick<StoredObject, "etag"> | undefined,
  existedBefore = false,
): void {
  if (condition.createOnly && existing) throw failed("If-None-Match");
  if (condition.ifMatch === undefined) return;
  if (!existing) {
    if (existedBefore) throw new S3Error("ConditionalRequestConflict", { details: { Key: key } });
    throw new S3Error("NoSuchKey", { details: { Key: key } });
  }
  if (!matchesEtag(condition.ifMatch, existing.etag)) throw failed("If-Match");
}

/** Whether a list of ETags (quoted or not, as S3 takes them) or `*` names this one. */
export function matchesEtag(list: string, etag: string): boolean {
  return list.split(",").some((item) => {
    const candidate = unquoteEtag(item);
    return candidate === "*" || candidate === etag;
  });
}

/** An ETag without quotes and weakness mark. */
export function unquoteEtag(text: string): string {
  return text.trim().replace(/^W\//, "").replaceAll(/^"|"$/g, "");
}

/** HTTP dates have no milliseconds. */
function wholeSeconds(time: number): number {
  return Math.floor(time / 1000) * 1000;
}

function failed(condition: string): S3Error {
  return new S3Error("PreconditionFailed", { details: { Condition: condition } });
}

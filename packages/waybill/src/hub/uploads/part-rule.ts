// Which bodies an object may be made of (docs/protocol/hub-api.md, rule 25): what is put at once, where a part may
// begin and end, and whether parts tile their object. All from a part's number and size; nobody keeps a plan of parts.
import {
  LIMITS,
  MANIFEST_KEY,
  type PartToSign,
  WaybillError,
  isPutAtOnce,
  partOffset,
} from "@waybill/sdk/protocol";
import type { StoredPart } from "../bucket/multipart.ts";
import { type UploadDoc, isManifest, plannedObject } from "./upload-doc.ts";

/** A part by its number and stored size. */
export type SizedPart = Pick<PartToSign, "key" | "part" | "size">;

/** Part size where a store wants them equal: a compromise of a lost part's cost and the number of requests. */
const EQUAL_PART_BYTES = 8 * 1024 * 1024;

/**
 * The unit of a session where all parts but an object's last are one unit long, so that their numbers are 1, 2, 3, …:
 * 8 MiB, or what 10,000 parts of the biggest object need.
 */
export function equalUnitBytesFor(biggest: number, unitBytes: number): number {
  const wanted = Math.max(EQUAL_PART_BYTES, biggest / LIMITS.s3Parts);
  return Math.ceil(wanted / unitBytes) * unitBytes;
}

/** Throws `invalid_request` for a body that is not of the session's plan or breaks the rule of parts. */
export function checkPart(doc: UploadDoc, body: SizedPart): void {
  const { key, part, size } = body;
  const planned = plannedObject(doc.plan, key);
  if (planned === undefined) {
    if (!isManifest(key)) throw wrong(`upload ${doc.upload} has no object ${key}`);
    if (part > 0) checkRange(doc, body, undefined);
    else if (!isPutAtOnce(size)) throw wrong(`${key} of ${size} bytes is sent in parts`);
    return;
  }
  if (isPutAtOnce(planned.size)) {
    if (part !== 0) throw wrong(`object ${key} is put at once, as part 0`);
    if (planned.encoding === undefined && size !== planned.size) {
      throw wrong(`${key} has ${planned.size} bytes by the plan, not ${size}`);
    }
    return;
  }
  if (part === 0) throw wrong(`object ${key} is sent in parts, which count from 1`);
  if (partOffset(part, doc.plan.unitBytes) >= planned.size) {
    throw wrong(`part ${part} of ${key} would begin behind its end`);
  }
  // Where a part of an encoded object ends is known when the manifest names the frames.
  checkRange(doc, body, planned.encoding === undefined ? planned.size : undefined);
}

/** A part's size against S3's bounds and, when the object's end is known, against where it may end. */
function checkRange(doc: UploadDoc, { key, part, size }: SizedPart, end: number | undefined): void {
  const { unitBytes } = doc.plan;
  const start = partOffset(part, unitBytes);
  if (size < 1 || size > LIMITS.s3MaxPartBytes) {
    throw wrong(`part ${part} of ${key} has ${size} bytes; 1 to ${LIMITS.s3MaxPartBytes} go`);
  }
  const most = end ?? (isManifest(key) ? LIMITS.manifestBytes : undefined);
  if (most !== undefined && start + size > most) {
    throw wrong(`part ${part} of ${key} would end behind ${most} bytes`);
  }
  if (doc.equalParts === true && size > unitBytes) {
    throw wrong(`parts of ${key} have ${unitBytes} bytes each in this store, not ${size}`);
  }
  if (end === undefined || start + size === end) return;
  if (size % unitBytes === 0 && size >= LIMITS.s3MinPartBytes) return;
  throw wrong(
    `part ${part} of ${key} does not end it: its size must be a multiple of ${unitBytes} and at least ` +
      `${LIMITS.s3MinPartBytes} bytes, not ${size}`,
  );
}

/**
 * Throws `conflict` saying where the hole is unless the parts, in the order given, tile an object.
 *
 * @param sizeBetween stored bytes an object has between two plain offsets (the second one `undefined`: its end);
 *   `undefined` when the object's size is not known, as the manifest's, which ends where its parts end
 */
export function checkTiling(
  doc: UploadDoc,
  key: string,
  parts: readonly Pick<StoredPart, "part" | "size">[],
  sizeBetween?: (start: number, end: number | undefined) => number,
): void {
  const { unitBytes } = doc.plan;
  let reached = 0;
  for (const [at, { part, size }] of parts.entries()) {
    const start = partOffset(part, unitBytes);
    const next = parts[at + 1];
    const end = next === undefined ? undefined : partOffset(next.part, unitBytes);
    if (at === 0 && part !== 1) throw incomplete(`${key} begins with part ${part}, not with 1`);
    if (end !== undefined && end <= start) {
      throw incomplete(`part ${part} of ${key} is named before part ${next?.part}`);
    }
    const wanted = sizeBetween?.(start, end) ?? (end === undefined ? size : end - start);
    if (size !== wanted) {
      const until = next === undefined ? "the end" : `part ${next.part}`;
      throw incomplete(
        `part ${part} of ${key} has ${size} bytes, ${wanted} are there until ${until}`,
      );
    }
    reached = start + size;
  }
  if (parts.length === 0 || reached === 0) throw incomplete(`no part of ${key} is named`);
}

/** What is missing for a completion, which a further push sends. */
export function incomplete(what: string): WaybillError {
  return new WaybillError("conflict", `the upload is not whole: ${what}`, {
    hint: "push again: only what is missing is sent",
  });
}

/** Whether a key is the manifest's or a planned multipart object: sent in parts and joined. */
export function isInParts(doc: UploadDoc, key: string): boolean {
  if (key === MANIFEST_KEY) return doc.multipart[key] !== undefined;
  const planned = plannedObject(doc.plan, key);
  return planned !== undefined && !isPutAtOnce(planned.size);
}

function wrong(message: string): WaybillError {
  return new WaybillError("invalid_request", message, {
    hint: "the plan and what is sent differ; push again",
  });
}

// Fencing (I11): only the worker of the current attempt may write for a job. A worker that comes back late is told
// `stale_attempt`, whichever hub it asks.
import {
  JobDoc,
  type JobId,
  LIMITS,
  type RoomId,
  WaybillError,
  isTerminal,
} from "@waybill/sdk/protocol";
import type { Documents } from "../bucket/documents.ts";
import type { Caller } from "../http/handler.ts";
import { ownsPeer } from "../signaling/peer-id.ts";
import { jobKey } from "./job-keys.ts";

/** Somebody's claim to be a job's worker in an attempt. */
export type Claim = {
  readonly room: RoomId;
  readonly job: JobId;
  readonly attempt: number;
  readonly caller: Caller;
};

/** Clocks of two hubs may differ by this much without a remembered lease outliving the real one. */
export const SKEW_MS = 10_000;

/** Throws `stale_attempt` unless attempt and key are those of the document, whatever its state. */
export function assertHolder(doc: JobDoc, claim: Omit<Claim, "room" | "job">): void {
  if (doc.attempt === claim.attempt && ownsPeer(claim.caller.subject, doc.worker)) return;
  const now = doc.worker === undefined ? "nobody's" : `${doc.worker}'s`;
  throw new WaybillError(
    "stale_attempt",
    `attempt ${claim.attempt} of job ${doc.job} is over: it is ${now} attempt ${doc.attempt} now`,
  );
}

/** As `assertHolder`, and the job must not have ended. */
export function assertCurrent(doc: JobDoc, claim: Omit<Claim, "room" | "job">): void {
  assertHolder(doc, claim);
  if (!isTerminal(doc.state)) return;
  throw new WaybillError("stale_attempt", `job ${doc.job} has ended: it is ${doc.state}`);
}

/** The job if the claim holds. Throws `stale_attempt`, `not_found`, `storage_failed`. */
export async function claimedJob(
  documents: Documents,
  claim: Claim,
  nowMs: number,
): Promise<JobDoc> {
  return jobThat(documents, claim, nowMs, (doc) => assertCurrent(doc, claim));
}

/** The job if the caller is its worker now, in whatever attempt. Throws as `claimedJob`. */
export async function heldJob(
  documents: Documents,
  held: Omit<Claim, "attempt">,
  nowMs: number,
): Promise<JobDoc> {
  const { caller } = held;
  return jobThat(documents, held, nowMs, (doc) =>
    assertCurrent(doc, { attempt: doc.attempt, caller }),
  );
}

/**
 * The job if it is as `check` wants it. A remembered document will do while its lease runs: before that, another hub gives
 * the job away only when its own worker said that the attempt is over.
 */
async function jobThat(
  documents: Documents,
  { room, job }: Pick<Claim, "room" | "job">,
  nowMs: number,
  check: (doc: JobDoc) => void,
): Promise<JobDoc> {
  const key = jobKey(room, job);
  const remembered = await documents.read(JobDoc, key, { maxAgeMs: LIMITS.leaseMs });
  if (remembered !== undefined && leaseHolds(remembered.doc, nowMs)) {
    try {
      check(remembered.doc);
      return remembered.doc;
    } catch {
      // Another hub may know better: ask the store.
    }
  }
  const stored = await documents.read(JobDoc, key);
  if (stored === undefined) throw noSuchJob(room, job);
  check(stored.doc);
  return stored.doc;
}

export function noSuchJob(room: RoomId, job: JobId): WaybillError {
  return new WaybillError("not_found", `no job ${job} in room ${room}`, {
    hint: "see `waybill job ls`",
  });
}

function leaseHolds(doc: JobDoc, nowMs: number): boolean {
  return doc.leaseUntil !== undefined && Date.parse(doc.leaseUntil) - nowMs > SKEW_MS;
}

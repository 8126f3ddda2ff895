// A job's document as a pure state machine (docs/protocol/events.md §2, §3, §5): what happened in, the next document and
// the events the hub writes out. The runner stores both by compare-and-swap and decides nothing.
//
//            ┌─ return, interrupted, expire ─┐   checkpoint: where the next attempt begins
//            ▼                               │   wish: no next attempt
//   queued ──assign──▶ assigned ──renew──▶ running ⇄ paused ──▶ stopping
//     │ cancel                 └──────────────┴────────┴──────────┤ end, expire, recover
//     └──▶ cancelled            completed · failed · cancelled · interrupted ◀┘
import {
  type Adjusted,
  type ArtifactId,
  type JobAssignment,
  type JobDoc,
  type JobId,
  type JobSpec,
  type JobState,
  type JobWish,
  LIMITS,
  MAX_ADJUSTED,
  type ModelId,
  type PeerId,
  type ResumePoint,
  type RoomId,
  WaybillError,
  assertNever,
  isTerminal,
} from "@waybill/sdk/protocol";
import type { Caller } from "../http/handler.ts";
import { ownsPeer } from "../signaling/peer-id.ts";
import { interruptedByWorker, notTaken, workerLost } from "./attempt-over.ts";
import { assertCurrent, assertHolder } from "./fence.ts";
import { type Silence, isLost } from "./silent-worker.ts";
import {
  type EndState,
  type StateEvent,
  type Transition,
  endByHub,
  ending,
  isEnd,
  stateEvent,
  timestamp,
} from "./job-ending.ts";

type LiveState = "assigned" | "running" | "paused" | "stopping";

/** What can happen to a job. */
export type Happening =
  /** A hub gives it to a worker. */
  | { readonly type: "assign"; readonly worker: PeerId; readonly assignee?: JobDoc["assignee"] }
  /** The worker declined or left before it accepted. */
  | { readonly type: "return"; readonly attempt: number; readonly reason: string }
  /** Somebody cancels it by the command `id`; applies while queued only. */
  | { readonly type: "cancel"; readonly by: string; readonly id: string }
  | {
      readonly type: "renew";
      readonly caller: Caller;
      readonly attempt: number;
      readonly state: LiveState;
      readonly lastSeq: number;
      /** What the trainer has confirmed of `adjust`. */
      readonly adjusted?: Adjusted | undefined;
    }
  | {
      readonly type: "end";
      readonly caller: Caller;
      readonly attempt: number;
      readonly state: EndState;
      readonly reason?: string | undefined;
      readonly model?: ModelId | undefined;
    }
  /** The worker has stored a checkpoint in the room. */
  | {
      readonly type: "checkpoint";
      readonly caller: Caller;
      readonly attempt: number;
      readonly resume: Omit<ResumePoint, "attempt" | "at">;
    }
  /** The checkpoint that was recorded has been removed meanwhile; the one before it may still be there. */
  | {
      readonly type: "checkpointGone";
      readonly artifact: ArtifactId;
      readonly instead?: ResumePoint | undefined;
    }
  /** Somebody wants an end while a worker has the job. */
  | { readonly type: "wish"; readonly wish: Omit<JobWish, "at"> }
  /** Time has passed; applies when the lease has run out and taking the job serves something. */
  | ({ readonly type: "expire" } & Silence)
  /** The lease has run out, but the log holds the attempt's end: the hub was killed inside `endJob`. */
  | { readonly type: "recover"; readonly end: StateEvent; readonly model?: ModelId | undefined };

/** Later states are never left for earlier ones by a renewal that comes late. */
const RANK: Readonly<Record<LiveState, number>> = {
  assigned: 0,
  running: 1,
  paused: 1,
  stopping: 2,
};

/** The document and first event of a new job. */
export function submitted(
  room: RoomId,
  job: JobId,
  spec: JobSpec,
  by: Pick<JobDoc, "submittedBy" | "submitter" | "submitterRole">,
  nowMs: number,
): JobDoc {
  return {
    job,
    room,
    spec,
    state: "queued",
    ...by,
    submittedAt: timestamp(nowMs),
    attempt: 0,
    seqReserved: 1,
  };
}

/** Event 1 of a job's log: follows from the document, so that it can be written again after a crash. */
export function queuedEvent(doc: JobDoc): StateEvent {
  return { seq: 1, time: doc.submittedAt, attempt: 0, type: "state", state: "queued" };
}

/**
 * The document after something happened. Throws `stale_attempt` for renewals and ends by anybody but the
 * current attempt's worker; what does not apply changes nothing.
 */
export function next(
  doc: JobDoc,
  happening: Happening,
  nowMs: number,
  leaseMs: number = LIMITS.leaseMs,
): Transition {
  switch (happening.type) {
    case "assign":
      return doc.state === "queued" ? assign(doc, happening, nowMs, leaseMs) : { doc };
    case "return":
      return doc.state === "assigned" && doc.attempt === happening.attempt
        ? notTaken(doc, happening.reason, nowMs)
        : { doc };
    case "cancel":
      return doc.state === "queued" ? cancel(doc, happening, nowMs) : { doc };
    case "renew":
      return renew(doc, happening, nowMs, leaseMs);
    case "end":
      return end(doc, happening, nowMs);
    case "checkpoint":
      return checkpoint(doc, happening, nowMs);
    case "checkpointGone":
      return checkpointGone(doc, happening);
    case "wish":
      return wish(doc, happening.wish, nowMs);
    case "expire":
      return leaseOver(doc, nowMs) && isLost(doc, happening, nowMs)
        ? workerLost(doc, nowMs, leaseMs)
        : { doc };
    case "recover":
      return recover(doc, happening, nowMs);
    default:
      return assertNever(happening);
  }
}

/** What the worker of an assigned job is told. */
export function assignmentOf(doc: JobDoc, assigned: StateEvent): JobAssignment {
  const { job, room, spec, attempt, seqReserved, leaseUntil, submittedBy, resume, adjusted } = doc;
  if (leaseUntil === undefined) {
    throw new WaybillError("internal", `job ${job} is assigned without a lease`);
  }
  const firstSeq = assigned.seq + 1;
  return {
    job,
    room,
    spec,
    attempt,
    firstSeq,
    seqReserved,
    leaseUntil,
    submittedBy,
    ...(resume === undefined ? {} : { resume }),
    ...(adjusted === undefined ? {} : { adjusted }),
  };
}

/** Whether a job's worker has not renewed in time. */
export function leaseOver(doc: JobDoc, nowMs: number): boolean {
  return (
    !isTerminal(doc.state) && doc.leaseUntil !== undefined && Date.parse(doc.leaseUntil) < nowMs
  );
}

function assign(
  doc: JobDoc,
  { worker, assignee }: Extract<Happening, { type: "assign" }>,
  nowMs: number,
  leaseMs: number,
): Transition {
  const seq = doc.seqReserved + 1;
  const assigned: JobDoc = {
    ...doc,
    state: "assigned",
    attempt: doc.attempt + 1,
    worker,
    ...(assignee === undefined ? {} : { assignee }),
    startedAt: timestamp(nowMs),
    leaseUntil: timestamp(nowMs + leaseMs),
    seqReserved: seq + LIMITS.seqReserve,
  };
  return { doc: assigned, events: [stateEvent(assigned, seq, timestamp(nowMs))] };
}

function renew(
  doc: JobDoc,
  renewal: Extract<Happening, { type: "renew" }>,
  nowMs: number,
  leaseMs: number,
): Transition {
  assertCurrent(doc, renewal);
  const late = isLive(doc.state) && RANK[renewal.state] < RANK[doc.state];
  return {
    doc: {
      ...doc,
      state: late ? doc.state : renewal.state,
      leaseUntil: timestamp(nowMs + leaseMs),
      seqReserved: Math.max(doc.seqReserved, renewal.lastSeq + LIMITS.seqReserve),
      ...withAdjusted(doc.adjusted, renewal.adjusted),
    },
  };
}

/** The last value of each key; keys above the bound are left out, for the lease matters more. */
function withAdjusted(
  before: Adjusted = {},
  confirmed: Adjusted = {},
): Pick<JobDoc, "adjusted"> | undefined {
  const all = Object.entries({ ...before, ...confirmed }).slice(0, MAX_ADJUSTED);
  return all.length === 0 ? undefined : { adjusted: Object.fromEntries(all) };
}

function end(doc: JobDoc, ended: Extract<Happening, { type: "end" }>, nowMs: number): Transition {
  if (ended.state === "interrupted" && wasInterrupted(doc, ended)) return { doc };
  assertHolder(doc, ended);
  // The answer to the first try was lost.
  if (doc.state === ended.state) return { doc };
  assertCurrent(doc, ended);
  return endedByWorker(doc, ended, nowMs);
}

function recover(
  doc: JobDoc,
  { end: { state, attempt, reason }, model }: Extract<Happening, { type: "recover" }>,
  nowMs: number,
): Transition {
  if (!leaseOver(doc, nowMs) || doc.attempt !== attempt || !isEnd(state)) return { doc };
  return endedByWorker(doc, { state, reason, model }, nowMs);
}

function endedByWorker(
  doc: JobDoc,
  { state, reason, model }: Pick<Extract<Happening, { type: "end" }>, "state" | "reason" | "model">,
  nowMs: number,
): Transition {
  if (state === "interrupted") return interruptedByWorker(doc, reason, nowMs);
  return {
    doc: {
      ...ending(doc, state, nowMs),
      ...(reason === undefined ? {} : { reason }),
      ...(model === undefined ? {} : { model }),
    },
  };
}

function checkpoint(
  doc: JobDoc,
  { resume, attempt, caller }: Extract<Happening, { type: "checkpoint" }>,
  nowMs: number,
): Transition {
  assertCurrent(doc, { attempt, caller });
  const before = doc.resume?.attempt === attempt ? doc.resume : undefined;
  if (before?.artifact === resume.artifact) return { doc };
  if (resume.n !== undefined && before?.n !== undefined && resume.n < before.n) {
    throw new WaybillError(
      "conflict",
      `checkpoint ${resume.n} of job ${doc.job} is older than ${before.n}, which is recorded`,
    );
  }
  return { doc: { ...doc, resume: { ...resume, attempt, at: timestamp(nowMs) } } };
}

function checkpointGone(
  doc: JobDoc,
  { artifact, instead }: Extract<Happening, { type: "checkpointGone" }>,
): Transition {
  if (isTerminal(doc.state) || doc.resume?.artifact !== artifact) return { doc };
  const { resume: _, ...rest } = doc;
  return { doc: instead === undefined ? rest : { ...rest, resume: instead } };
}

function cancel(
  doc: JobDoc,
  { id, by }: Extract<Happening, { type: "cancel" }>,
  nowMs: number,
): Transition {
  const wished: JobDoc = { ...doc, wish: { name: "cancel", id, by, at: timestamp(nowMs) } };
  return endByHub(wished, "cancelled", `cancelled by ${by}`, nowMs);
}

/** A cancel weighs more than a stop; the first of each counts. */
function wish(doc: JobDoc, wanted: Omit<JobWish, "at">, nowMs: number): Transition {
  if (!isLive(doc.state)) return { doc };
  if (doc.wish?.name === wanted.name || doc.wish?.name === "cancel") return { doc };
  return { doc: { ...doc, wish: { ...wanted, at: timestamp(nowMs) } } };
}

/** Whether the caller's attempt is the last one that was interrupted: the answer to its first try was lost. */
export function wasInterrupted(
  { interrupted }: JobDoc,
  { attempt, caller }: { readonly attempt: number; readonly caller: Caller },
): boolean {
  return interrupted?.attempt === attempt && ownsPeer(caller.subject, interrupted.worker);
}

function isLive(state: JobState): state is LiveState {
  return state in RANK;
}

// A job's document as a pure state machine (docs/protocol/events.md §2, §3, §5): what happened in, the next document and
// the event the hub writes out. The runner stores both by compare-and-swap and decides nothing.
//
//            ┌───── return ─────┐
//            ▼                  │      renew
//   queued ──assign──▶ assigned ──▶ running ⇄ paused ──▶ stopping
//     │ cancel            │ end, expire ─▶ completed · failed · cancelled · interrupted
//     └──▶ cancelled
import {
  type JobAssignment,
  type JobDoc,
  type JobEventOf,
  type JobId,
  type JobSpec,
  type JobState,
  LIMITS,
  type ModelId,
  type PeerId,
  type RoomId,
  WaybillError,
  assertNever,
  isTerminal,
} from "@waybill/sdk/protocol";
import type { Caller } from "../http/handler.ts";
import { assertCurrent, assertHolder } from "./fence.ts";

export type StateEvent = JobEventOf<"state">;
type LiveState = "assigned" | "running" | "paused" | "stopping";
export type EndState = "completed" | "failed" | "cancelled" | "interrupted";

/** What can happen to a job. */
export type Happening =
  /** A hub gives it to a worker. */
  | { readonly type: "assign"; readonly worker: PeerId }
  /** The worker declined or left before it accepted. */
  | { readonly type: "return"; readonly attempt: number; readonly reason: string }
  /** Somebody cancels it; applies while queued only. */
  | { readonly type: "cancel"; readonly by: string }
  | {
      readonly type: "renew";
      readonly caller: Caller;
      readonly attempt: number;
      readonly state: LiveState;
      readonly lastSeq: number;
    }
  | {
      readonly type: "end";
      readonly caller: Caller;
      readonly attempt: number;
      readonly state: EndState;
      readonly reason?: string | undefined;
      readonly model?: ModelId | undefined;
    }
  /** Time has passed; applies when the lease has run out. */
  | { readonly type: "expire" }
  /** The lease has run out, but the log holds the attempt's end: the hub was killed inside `endJob`. */
  | { readonly type: "recover"; readonly end: StateEvent; readonly model?: ModelId | undefined };

export type Transition = {
  /** The argument itself when nothing changes. */
  readonly doc: JobDoc;
  /** What the hub writes to the job's log. */
  readonly event?: StateEvent;
};

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
  submittedBy: string,
  nowMs: number,
): JobDoc {
  return {
    job,
    room,
    spec,
    state: "queued",
    submittedBy,
    submittedAt: timestamp(nowMs),
    attempt: 0,
    seqReserved: 1,
  };
}

/** Event 1 of a job's log: follows from the document, so that it can be written again after a crash. */
export function queuedEvent(doc: JobDoc): StateEvent {
  return { seq: 1, time: doc.submittedAt, attempt: 0, type: "state", state: "queued" };
}

/** The last event of a job the hub ended itself; as `queuedEvent`. */
export function endEvent(doc: JobDoc): StateEvent {
  return stateEvent(doc, doc.seqReserved, doc.endedAt ?? doc.submittedAt);
}

/**
 * The document after something happened. Throws `stale_attempt` for renewals and ends by anybody but the
 * current attempt's worker; what does not apply changes nothing.
 */
export function next(doc: JobDoc, happening: Happening, nowMs: number): Transition {
  switch (happening.type) {
    case "assign":
      return doc.state === "queued" ? assign(doc, happening.worker, nowMs) : { doc };
    case "return":
      return doc.state === "assigned" && doc.attempt === happening.attempt
        ? giveBack(doc, happening.reason, nowMs)
        : { doc };
    case "cancel":
      return doc.state === "queued"
        ? endByHub(doc, "cancelled", `cancelled by ${happening.by}`, nowMs)
        : { doc };
    case "renew":
      return renew(doc, happening, nowMs);
    case "end":
      return end(doc, happening, nowMs);
    case "expire":
      return leaseOver(doc, nowMs) ? endByHub(doc, "failed", lostReason(doc), nowMs) : { doc };
    case "recover":
      return recover(doc, happening, nowMs);
    default:
      return assertNever(happening);
  }
}

/** What the worker of an assigned job is told. */
export function assignmentOf(doc: JobDoc, assigned: StateEvent): JobAssignment {
  const { job, room, spec, attempt, seqReserved, leaseUntil, submittedBy } = doc;
  if (leaseUntil === undefined) {
    throw new WaybillError("internal", `job ${job} is assigned without a lease`);
  }
  const firstSeq = assigned.seq + 1;
  return { job, room, spec, attempt, firstSeq, seqReserved, leaseUntil, submittedBy };
}

/** Whether a job's worker has not renewed in time. */
export function leaseOver(doc: JobDoc, nowMs: number): boolean {
  return (
    !isTerminal(doc.state) && doc.leaseUntil !== undefined && Date.parse(doc.leaseUntil) < nowMs
  );
}

function assign(doc: JobDoc, worker: PeerId, nowMs: number): Transition {
  const seq = doc.seqReserved + 1;
  const assigned: JobDoc = {
    ...doc,
    state: "assigned",
    attempt: doc.attempt + 1,
    worker,
    startedAt: timestamp(nowMs),
    leaseUntil: timestamp(nowMs + LIMITS.leaseMs),
    seqReserved: seq + LIMITS.seqReserve,
  };
  return { doc: assigned, event: stateEvent(assigned, seq, timestamp(nowMs)) };
}

function giveBack(doc: JobDoc, reason: string, nowMs: number): Transition {
  const { worker: _, leaseUntil: __, startedAt: ___, ...rest } = doc;
  const queued: JobDoc = { ...rest, state: "queued", seqReserved: doc.seqReserved + 1 };
  const event = stateEvent(queued, queued.seqReserved, timestamp(nowMs));
  return { doc: queued, event: { ...event, reason } };
}

function endByHub(doc: JobDoc, state: EndState, reason: string, nowMs: number): Transition {
  const ended = ending({ ...doc, seqReserved: doc.seqReserved + 1 }, state, nowMs);
  const told = { ...ended, reason };
  return { doc: told, event: endEvent(told) };
}

function renew(
  doc: JobDoc,
  renewal: Extract<Happening, { type: "renew" }>,
  nowMs: number,
): Transition {
  assertCurrent(doc, renewal);
  const late = isLive(doc.state) && RANK[renewal.state] < RANK[doc.state];
  return {
    doc: {
      ...doc,
      state: late ? doc.state : renewal.state,
      leaseUntil: timestamp(nowMs + LIMITS.leaseMs),
      seqReserved: Math.max(doc.seqReserved, renewal.lastSeq + LIMITS.seqReserve),
    },
  };
}

function end(doc: JobDoc, ended: Extract<Happening, { type: "end" }>, nowMs: number): Transition {
  assertHolder(doc, ended);
  // The answer to the first try was lost.
  if (doc.state === ended.state) return { doc };
  assertCurrent(doc, ended);
  const { state, reason, model } = ended;
  return {
    doc: {
      ...ending(doc, state, nowMs),
      ...(reason === undefined ? {} : { reason }),
      ...(model === undefined ? {} : { model }),
    },
  };
}

function recover(
  doc: JobDoc,
  { end: { state, attempt, reason }, model }: Extract<Happening, { type: "recover" }>,
  nowMs: number,
): Transition {
  if (!leaseOver(doc, nowMs) || doc.attempt !== attempt || !isEnd(state)) return { doc };
  return {
    doc: {
      ...ending(doc, state, nowMs),
      ...(reason === undefined ? {} : { reason }),
      ...(model === undefined ? {} : { model }),
    },
  };
}

function ending(doc: JobDoc, state: EndState, nowMs: number): JobDoc {
  const { leaseUntil: _, reason: __, ...rest } = doc;
  return { ...rest, state, endedAt: timestamp(nowMs) };
}

function stateEvent(doc: JobDoc, seq: number, time: string): StateEvent {
  return {
    seq,
    time,
    attempt: doc.attempt,
    type: "state",
    state: doc.state,
    ...(doc.reason === undefined ? {} : { reason: doc.reason }),
    ...(doc.worker === undefined ? {} : { worker: doc.worker }),
  };
}

function lostReason(doc: JobDoc): string {
  return `worker lost: ${doc.worker ?? "it"} has not been heard of since before ${doc.leaseUntil ?? "its lease"}`;
}

function isLive(state: JobState): state is LiveState {
  return state in RANK;
}

function isEnd(state: JobState): state is EndState {
  return isTerminal(state);
}

function timestamp(ms: number): string {
  return new Date(ms).toISOString();
}

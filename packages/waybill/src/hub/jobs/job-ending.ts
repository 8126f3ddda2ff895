// How a job's document ends, and the `state` events the hub writes about it: pure parts of job-state.ts.
import { type JobDoc, type JobEventOf, type JobState, isTerminal } from "@waybill/sdk/protocol";

export type StateEvent = JobEventOf<"state">;
export type EndState = "completed" | "failed" | "cancelled" | "interrupted";

export type Transition = {
  /** The argument itself when nothing changes. */
  readonly doc: JobDoc;
  /** What the hub writes to the job's log: consecutive numbers. */
  readonly events?: readonly StateEvent[];
};

/** The document in an end state, without what only a live job has. */
export function ending(doc: JobDoc, state: EndState, nowMs: number): JobDoc {
  const { leaseUntil: _, reason: __, ...rest } = doc;
  return { ...rest, state, endedAt: timestamp(nowMs) };
}

/** An end that no worker tells: the hub writes its event itself. */
export function endByHub(
  doc: JobDoc,
  state: EndState,
  reason: string,
  nowMs: number,
  before: readonly StateEvent[] = [],
): Transition {
  const seqReserved = (before.at(-1)?.seq ?? doc.seqReserved) + 1;
  const told = { ...ending({ ...doc, seqReserved }, state, nowMs), reason };
  return { doc: told, events: [...before, endEvent(told)] };
}

/** The job in the queue again, with the events that say so. */
export function backInQueue(
  doc: JobDoc,
  reason: string,
  nowMs: number,
  before: readonly StateEvent[] = [],
): Transition {
  const { worker: _, assignee: __, leaseUntil: ___, startedAt: ____, reason: _____, ...rest } = doc;
  const seqReserved = (before.at(-1)?.seq ?? doc.seqReserved) + 1;
  const queued: JobDoc = { ...rest, state: "queued", seqReserved };
  const event = stateEvent(queued, seqReserved, timestamp(nowMs));
  return { doc: queued, events: [...before, { ...event, reason }] };
}

/** The last event of a job the hub ended itself; follows from the document, so that it can be written again. */
export function endEvent(doc: JobDoc): StateEvent {
  return stateEvent(doc, doc.seqReserved, doc.endedAt ?? doc.submittedAt);
}

export function stateEvent(
  doc: Pick<JobDoc, "attempt" | "state" | "reason" | "worker">,
  seq: number,
  time: string,
): StateEvent {
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

export function isEnd(state: JobState): state is EndState {
  return isTerminal(state);
}

export function timestamp(ms: number): string {
  return new Date(ms).toISOString();
}

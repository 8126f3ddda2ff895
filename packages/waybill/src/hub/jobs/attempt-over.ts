// What follows when an attempt ends without an outcome (docs/protocol/events.md §5): another one, or the end. Pure.
//
//   interrupted ──somebody wants it cancelled──▶ cancelled
//        │ ──stop was asked for, or too many attempts without a new checkpoint──▶ interrupted (lost worker: failed)
//        └──else──▶ queued, from the newest checkpoint
import { DEFAULT_MAX_ATTEMPTS, type JobDoc, type ResumePoint } from "@waybill/sdk/protocol";
import {
  type StateEvent,
  type Transition,
  backInQueue,
  endByHub,
  ending,
  stateEvent,
  timestamp,
} from "./job-ending.ts";
import { lastHeardOf, nameOfWorker } from "./silent-worker.ts";

/** The worker said that it was interrupted; its `interrupted` event is the last of the log. */
export function interruptedByWorker(
  doc: JobDoc,
  reason: string | undefined,
  nowMs: number,
): Transition {
  const { worker, attempt } = doc;
  const counted: JobDoc = {
    ...doc,
    fruitless: fruitlessAfter(doc),
    ...(worker === undefined ? {} : { interrupted: { attempt, worker } }),
  };
  if (doc.wish?.name === "cancel") return cancelled(counted, doc.wish.by, nowMs);
  const why = whyNoMore(counted);
  if (why === undefined) return backInQueue(counted, nextAttempt(counted), nowMs);
  const because = [reason, why].filter((part) => part !== undefined).join("; ");
  return { doc: { ...ending(counted, "interrupted", nowMs), reason: because } };
}

/** The worker was not heard of in time: the hub writes what the worker could not. */
export function workerLost(doc: JobDoc, nowMs: number, leaseMs: number): Transition {
  const reason = `worker lost: ${nameOfWorker(doc)} has not been heard of since ${lastHeardOf(doc, leaseMs)}`;
  const counted: JobDoc = { ...doc, fruitless: fruitlessAfter(doc) };
  if (doc.wish?.name === "cancel") return cancelled(counted, doc.wish.by, nowMs);
  const why = whyNoMore(counted);
  if (why !== undefined) return endByHub(counted, "failed", `${reason}; ${why}`, nowMs);
  const lost: StateEvent = stateEvent(
    { ...doc, state: "interrupted", reason },
    doc.seqReserved + 1,
    timestamp(nowMs),
  );
  return backInQueue(counted, nextAttempt(counted), nowMs, [lost]);
}

/** An offer that nobody took up: it counts for nothing. */
export function notTaken(doc: JobDoc, reason: string, nowMs: number): Transition {
  if (doc.wish === undefined) return backInQueue(doc, reason, nowMs);
  return endByHub(doc, "cancelled", `${doc.wish.name} by ${doc.wish.by} before it began`, nowMs);
}

/** `epoch 7`, `step 1200`, or when the checkpoint was stored. */
function placeOfResume({ data, at }: ResumePoint): string {
  for (const key of ["epoch", "step", "batch"]) {
    const value = data[key];
    if (typeof value === "number") return `${key} ${value}`;
  }
  return `the checkpoint of ${at}`;
}

/** Attempts in a row without a new checkpoint, with the one that ends now. */
function fruitlessAfter({ resume, attempt, fruitless = 0 }: JobDoc): number {
  return resume?.attempt === attempt ? 0 : fruitless + 1;
}

function whyNoMore({ spec, fruitless = 0, wish }: JobDoc): string | undefined {
  if (wish !== undefined) return `not tried again: ${wish.by} asked for ${wish.name}`;
  const most = spec.maxAttempts ?? DEFAULT_MAX_ATTEMPTS;
  if (fruitless < most) return undefined;
  return most === 1
    ? "not tried again: one attempt is allowed"
    : `not tried again: ${fruitless} attempts in a row ended without a new checkpoint`;
}

function nextAttempt({ attempt, resume, state }: JobDoc): string {
  const from =
    resume === undefined
      ? "begins anew, for no checkpoint is stored"
      : `resumes from ${placeOfResume(resume)}`;
  // Nothing but its last checkpoint survives an attempt.
  const paused = state === "paused" ? "; it was paused; it runs again" : "";
  return `attempt ${attempt} was interrupted; attempt ${attempt + 1} ${from}${paused}`;
}

function cancelled(doc: JobDoc, by: string, nowMs: number): Transition {
  return endByHub(doc, "cancelled", `cancelled by ${by}`, nowMs);
}

// A worker that is silent for longer than its lease (docs/protocol/events.md §5): whether its job is taken from it, by whom,
// and what people are told. Pure.
import type { JobDoc, JobId, PeerId } from "@waybill/sdk/protocol";
import { submitterOf, wantedOf } from "./job-queue.ts";
import {
  type Candidate,
  type QueuedJob,
  type Refusal,
  bySubmission,
  chooseWorker,
  whyUnfit,
} from "./matching.ts";

/** What a hub knows when a lease is over. */
export type Silence = {
  /** Another worker would take the job now, or its own is here and has it no more. Default: yes. */
  readonly served?: boolean;
  /** A worker whose lease has been over for this long is not waited for any more. Default 24 h. */
  readonly awayMs?: number;
};

/** A laptop that was closed in the evening is back the next day. */
export const AWAY_MS = 24 * 3_600_000;

/** Whether a job whose lease is over is taken from its worker; if not, the worker goes on when it is back. */
export function isLost(
  { assignee, wish, leaseUntil = "" }: JobDoc,
  { served = true, awayMs = AWAY_MS }: Silence,
  nowMs: number,
): boolean {
  if (served || wish !== undefined) return true;
  // An ephemeral machine that is silent is gone; of those assigned by older hubs nothing is known.
  if (assignee === undefined || assignee.kind === "ephemeral") return true;
  return nowMs - Date.parse(leaseUntil) >= awayMs;
}

/** A connected worker, and whether it works on an attempt. */
export type Present = Candidate & { readonly has: (job: JobId, attempt: number) => boolean };

type Refusals = (job: JobId) => ReadonlyMap<PeerId, Refusal>;

/** Which of the jobs with a silent worker are served by taking them now. Each free slot counts once, the oldest job first. */
export function servedNow(
  silent: readonly JobDoc[],
  workers: readonly Present[],
  refusals: Refusals,
  nowMs: number,
): Set<JobId> {
  const served = new Set<JobId>();
  const promised = new Map<PeerId, number>();
  const jobs = silent.map((doc) => ({ doc, queued: asQueued(doc, refusals) }));
  for (const { doc, queued } of jobs.sort((a, b) => bySubmission(a.queued, b.queued))) {
    const own = workers.find(({ workerId }) => workerId === doc.worker);
    if (own !== undefined && !own.has(doc.job, doc.attempt)) {
      served.add(doc.job);
      continue;
    }
    const others = workers.filter(
      (one) => one !== own && one.busy + (promised.get(one.workerId) ?? 0) < one.capabilities.slots,
    );
    const taker = chooseWorker(queued, others, nowMs);
    if (taker === undefined) continue;
    promised.set(taker.workerId, (promised.get(taker.workerId) ?? 0) + 1);
    served.add(doc.job);
  }
  return served;
}

/** What people are told of a job whose worker is silent: one sentence without a full stop. */
export function silenceReason(
  doc: JobDoc,
  workers: readonly Present[],
  refusals: Refusals,
  { nowMs, leaseMs }: { readonly nowMs: number; readonly leaseMs: number },
): string {
  const time = lastHeardOf(doc, leaseMs).slice(11, 19);
  const silent = `${nameOfWorker(doc)} has not been heard of since ${time} UTC`;
  const served = servedNow([doc], workers, refusals, nowMs).has(doc.job);
  if (isLost(doc, { served }, nowMs)) return `${silent}; the job will be taken from it`;
  const fits = (one: Present) =>
    one.workerId !== doc.worker && whyUnfit(one, { wanted: wantedOf(doc) }) === undefined;
  const nobody = workers.some(fits) ? "no other worker that fits is free" : "no other worker fits";
  return `${silent}; it keeps the job: ${nobody}`;
}

export function nameOfWorker({ assignee, worker }: JobDoc): string {
  return assignee?.name ?? worker ?? "its worker";
}

/** When the worker was given the job or last renewed its lease. */
export function lastHeardOf({ leaseUntil }: JobDoc, leaseMs: number): string {
  if (leaseUntil === undefined) return "it was given the job";
  return new Date(Date.parse(leaseUntil) - leaseMs).toISOString();
}

function asQueued(doc: JobDoc, refusals: Refusals): QueuedJob {
  const { job, submittedAt } = doc;
  const [submitter, wanted] = [submitterOf(doc), wantedOf(doc)];
  return { job, submittedAt, submitter, wanted, refusals: refusals(job) };
}

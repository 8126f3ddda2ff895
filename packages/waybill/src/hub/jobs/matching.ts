// Which worker gets a job, and why a job waits: pure (docs/protocol/events.md §6).
import {
  type ArtifactId,
  type JobDoc,
  type JobId,
  type PeerId,
  type WorkerCapabilities,
  type WorkerMode,
  assertNever,
  unmetRequirement,
} from "@waybill/sdk/protocol";

/** What matching needs to know of a job; specs stay in the bucket. */
type Wanted = Pick<JobDoc["spec"], "trainer" | "requirements"> & {
  readonly brings?: "code" | "environment";
  /** What the submitter is called, and by which key that is. */
  readonly submittedBy: string;
  readonly submitter: string | undefined;
  /** Artifacts it begins with: a worker that has them need not fetch them. */
  readonly artifacts: readonly ArtifactId[];
};

export type Candidate = {
  readonly workerId: PeerId;
  readonly name: string;
  readonly capabilities: WorkerCapabilities;
  /** Unknown until it was read: it is offered nothing before. */
  readonly mode: WorkerMode | undefined;
  /** Artifacts it said it has. */
  readonly cached: readonly ArtifactId[];
  /** Jobs it works on or has been offered. */
  readonly busy: number;
  readonly idleSinceMs: number;
};

/** A worker's refusals of one job. */
export type Refusal = {
  readonly times: number;
  readonly untilMs: number;
  readonly reason: string;
};

export type QueuedJob = {
  readonly job: JobId;
  readonly submittedAt: string;
  /** Whose share of the queue it counts for. */
  readonly submitter: string;
  readonly wanted: Wanted;
  readonly refusals: ReadonlyMap<PeerId, Refusal>;
};

/** Workers named in a reason; more make no sentence. */
const NAMED = 4;
/** Characters of a key that may stand for it. */
const MIN_KEY = 8;
const FIRST_PAUSE_MS = 5000;
const LONGEST_PAUSE_MS = 300_000;

/** Order of submission; ids break ties. */
export function bySubmission(a: QueuedJob, b: QueuedJob): number {
  if (a.submittedAt !== b.submittedAt) return a.submittedAt < b.submittedAt ? -1 : 1;
  return a.job < b.job ? -1 : Number(a.job > b.job);
}

/** Whether a worker may be offered a job. */
export function isFree(worker: Candidate): boolean {
  return worker.mode !== undefined && worker.busy < worker.capabilities.slots;
}

/** Why a worker does not take a job at all, as in "desk …"; `undefined` when it does. */
export function whyUnfit(worker: Candidate, { wanted }: Pick<QueuedJob, "wanted">) {
  return unmetRequirement(worker, wanted) ?? unmetMode(worker.mode, wanted);
}

/**
 * The free worker that fits and has the most of what the job begins with; of several the one with the least to do, then
 * the one that waited longest.
 */
export function chooseWorker<W extends Candidate>(
  job: QueuedJob,
  workers: Iterable<W>,
  nowMs: number,
): W | undefined {
  let best: W | undefined;
  for (const worker of workers) {
    if (!isFree(worker) || (job.refusals.get(worker.workerId)?.untilMs ?? 0) > nowMs) continue;
    if (whyUnfit(worker, job) !== undefined) continue;
    if (best === undefined || isBetter(worker, best, job.wanted)) best = worker;
  }
  return best;
}

/** The next refusal after one more decline; pauses double. */
export function refusedAgain(before: Refusal | undefined, reason: string, nowMs: number): Refusal {
  const times = (before?.times ?? 0) + 1;
  const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(times - 1, 16));
  return { times, untilMs: nowMs + pauseMs, reason };
}

/** What a waiting job can expect. */
export type Outlook = {
  /** Workers that are there, and how many of them would take it. */
  readonly workers: number;
  readonly fitting: number;
  /** Why it waits, for people: one sentence without a full stop. */
  readonly reason: string;
};

/** Whether a job may hope for one of these workers. */
export function outlookOf(
  job: Pick<QueuedJob, "wanted" | "refusals">,
  workers: readonly Candidate[],
  nowMs: number,
): Outlook {
  const unmet: string[] = [];
  const refused: string[] = [];
  for (const worker of workers) {
    const lacks = whyUnfit(worker, job);
    const refusal = job.refusals.get(worker.workerId);
    if (lacks !== undefined) unmet.push(`${worker.name} ${lacks}`);
    else if (refusal !== undefined && refusal.untilMs > nowMs) {
      refused.push(`${worker.name} declined (${refusal.reason})`);
    }
  }
  const total = workers.length;
  const open = total - unmet.length - refused.length;
  const reason = () => {
    if (total === 0) return "no worker is connected";
    if (open > 0) return `waiting for a free worker: ${open} of ${total} would fit`;
    if (refused.length > 0) return `will be offered again: ${listed(refused)}`;
    return `no connected worker fits: ${listed(unmet)}`;
  };
  return { workers: total, fitting: total - unmet.length, reason: reason() };
}

function unmetMode(wantedOfIt: WorkerMode | undefined, wanted: Wanted): string | undefined {
  if (wantedOfIt === undefined) return undefined;
  const { mode, for: whom = "nobody", note: text } = wantedOfIt;
  const note = text === undefined ? "" : ` (${text})`;
  switch (mode) {
    case "active":
      return undefined;
    case "drain":
      return `is being drained${note}`;
    case "maintenance":
      return `is in maintenance${note}`;
    case "reserved":
      return isBy(whom, wanted) ? undefined : `is reserved for ${whom}${note}`;
    default:
      return assertNever(mode);
  }
}

/** Whether a name or the beginning of a key means the submitter: `ada@desk`, `ada`, `1bC4x9Zq…`. */
function isBy(name: string, { submittedBy, submitter = "" }: Wanted): boolean {
  if (name === submittedBy || name === submittedBy.split("@")[0] || name === submitter) return true;
  return name.length >= MIN_KEY && submitter.startsWith(name);
}

function isBetter(a: Candidate, b: Candidate, { artifacts }: Wanted): boolean {
  const held = ({ cached }: Candidate) => artifacts.filter((id) => cached.includes(id)).length;
  const more = artifacts.length === 0 ? 0 : held(a) - held(b);
  if (more !== 0) return more > 0;
  return a.busy === b.busy ? a.idleSinceMs < b.idleSinceMs : a.busy < b.busy;
}

function listed(parts: readonly string[]): string {
  const rest = parts.length > NAMED ? `, and ${parts.length - NAMED} more` : "";
  return parts.slice(0, NAMED).join(", ") + rest;
}

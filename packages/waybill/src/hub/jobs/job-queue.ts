// The jobs of one room that wait for a worker, in order of submission. Memory only: a hint of what the bucket holds.
import { type JobDoc, type JobId, type PeerId, broughtBy } from "@waybill/sdk/protocol";
import { type QueuedJob, type Refusal, bySubmission } from "./matching.ts";

export class JobQueue {
  /** Sorted by submission. */
  readonly #waiting: QueuedJob[] = [];
  readonly #ids = new Set<JobId>();
  /** Kept while a job goes back and forth. */
  readonly #refusals = new Map<JobId, Map<PeerId, Refusal>>();

  has(job: JobId): boolean {
    return this.#ids.has(job);
  }

  /** Adds a queued job in its place; a job that is there stays as it is. */
  add(doc: JobDoc): void {
    if (this.#ids.has(doc.job)) return;
    this.#ids.add(doc.job);
    const queued: QueuedJob = {
      job: doc.job,
      submittedAt: doc.submittedAt,
      submitter: submitterOf(doc),
      wanted: wantedOf(doc),
      refusals: this.#refusalsOf(doc.job),
    };
    let at = this.#waiting.length;
    // Nearly always the newest.
    for (; at > 0; at--) {
      const before = this.#waiting[at - 1];
      if (before === undefined || bySubmission(before, queued) < 0) break;
    }
    this.#waiting.splice(at, 0, queued);
  }

  /** Takes a job out; its refusals are remembered until `forget`. */
  take(job: JobId): void {
    if (!this.#ids.delete(job)) return;
    const at = this.#waiting.findIndex((each) => each.job === job);
    this.#waiting.splice(at, 1);
  }

  /** Takes a job out for good. */
  forget(job: JobId): void {
    this.take(job);
    this.#refusals.delete(job);
  }

  refuse(job: JobId, worker: PeerId, refusal: Refusal): void {
    this.#refusalsOf(job).set(worker, refusal);
  }

  refusals(job: JobId): ReadonlyMap<PeerId, Refusal> {
    return this.#refusals.get(job) ?? new Map();
  }

  /** In order of submission. */
  all(): QueuedJob[] {
    return [...this.#waiting];
  }

  #refusalsOf(job: JobId): Map<PeerId, Refusal> {
    const known = this.#refusals.get(job) ?? new Map<PeerId, Refusal>();
    this.#refusals.set(job, known);
    return known;
  }
}

/** What matching needs of a job's spec. */
export function wantedOf(doc: JobDoc): QueuedJob["wanted"] {
  const { trainer, requirements, dataset, code } = doc.spec;
  const brings = broughtBy(doc.spec);
  const { submittedBy, submitter, resume, parentArtifact } = doc;
  return {
    requirements,
    submittedBy,
    submitter,
    artifacts: [dataset, code, resume?.artifact, parentArtifact].filter((id) => id !== undefined),
    ...(trainer === undefined ? {} : { trainer }),
    ...(brings === undefined ? {} : { brings }),
  };
}

/** Whose share of the queue a job counts for. */
export function submitterOf({ submitter, submittedBy }: JobDoc): string {
  return submitter ?? submittedBy;
}

// Checkpoints of jobs (docs/protocol/events.md §8): the newest that is whole in the room is where a later attempt begins;
// those that no attempt can need are removed.
import {
  type ArtifactId,
  type ArtifactRecord,
  type JobDoc,
  type JobId,
  type ResumePoint,
  type RoomId,
  type RouteBody,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { Caller } from "../http/handler.ts";
import type { Clock } from "../log.ts";
import type { BackgroundTasks } from "./background-tasks.ts";
import { assertCurrent } from "./fence.ts";
import type { JobStore } from "./job-store.ts";

/** What the room holds of checkpoints. */
export type CheckpointFiles = {
  /** A whole checkpoint that was uploaded for the job. */
  readonly find: (
    room: RoomId,
    artifact: ArtifactId,
    job: JobId,
  ) => Promise<ArtifactRecord | undefined>;
  /** All of one job. */
  readonly of: (room: RoomId, job: JobId) => Promise<ArtifactRecord[]>;
  /** Jobs that have any. */
  readonly jobs: (room: RoomId) => Promise<JobId[]>;
  /** Idempotent. */
  readonly remove: (room: RoomId, record: ArtifactRecord) => Promise<void>;
  /** Deletes whatever is stored for a job that is over. */
  readonly empty: (room: RoomId, job: JobId) => Promise<void>;
};

export type CheckpointsDeps = {
  readonly files: CheckpointFiles;
  readonly store: () => JobStore;
  readonly tasks: BackgroundTasks;
  readonly clock: Clock;
};

/** What the room holds of a job's checkpoints after its end. */
export type CheckpointLeftover = {
  readonly job: JobId;
  readonly bytes: number;
  /** How the job ended. */
  readonly state: JobDoc["state"];
  /** Absent: it may go now. */
  readonly until?: string;
};

/** What is left of a job that ended without a model can be looked at for so long. */
const KEPT_AFTER_END_MS = 7 * 86_400_000;

export class Checkpoints {
  readonly #deps: CheckpointsDeps;

  constructor(deps: CheckpointsDeps) {
    this.#deps = deps;
  }

  /**
   * Makes an uploaded checkpoint the job's resume point. Idempotent. Throws `stale_attempt`, and `conflict` when the room
   * does not hold it whole, uploaded for this job, or a later one of the attempt is recorded.
   */
  async record(
    room: RoomId,
    job: JobId,
    { attempt, artifact, data, n }: RouteBody<"recordCheckpoint">,
    caller: Caller,
  ): Promise<ResumePoint> {
    const { files, tasks } = this.#deps;
    const store = this.#deps.store();
    assertCurrent(await store.read(room, job), { attempt, caller });
    // What is listed now is no later than this one: its worker uploads the next when it has the answer.
    const [record, listed] = await Promise.all([
      files.find(room, artifact, job),
      files.of(room, job),
    ]);
    if (record === undefined) throw notHeld(job, artifact);
    const resume = { artifact, bytes: record.bytes, data, ...(n === undefined ? {} : { n }) };
    const happening = { type: "checkpoint", caller, attempt, resume } as const;
    const { doc, before, changed } = await store.apply(room, job, happening);
    if (doc.resume === undefined)
      throw new WaybillError("internal", `job ${job} has no checkpoint`);
    if (!changed) return doc.resume;
    // Held up on the way here, it may have been followed by others and removed.
    if ((await files.find(room, artifact, job)) === undefined) {
      await store.apply(room, job, { type: "checkpointGone", artifact, instead: before.resume });
      throw notHeld(job, artifact);
    }
    // The one before stays: somebody may be reading what the last assignment named.
    const kept = new Set([artifact, before.resume?.artifact]);
    const old = listed.filter((one) => !kept.has(one.artifact));
    const latest = doc.resume;
    tasks.run("remove older checkpoints", () => this.#removeOlder(room, job, old, latest));
    return latest;
  }

  /** A job has its model: nobody begins from its checkpoints any more. */
  completed({ room, job, resume }: JobDoc): void {
    if (resume === undefined) return;
    this.#deps.tasks.run("remove checkpoints", () => this.#removeAll(room, job));
  }

  /** Removes what jobs of a room have left that are over. */
  async sweep(room: RoomId): Promise<void> {
    for (const job of await this.#deps.files.jobs(room)) {
      const doc = await this.#deps.store().find(room, job);
      if (this.#isNeeded(doc)) continue;
      await this.#removeAll(room, job);
    }
  }

  /** What a sweep would remove now, and what it leaves for a while of jobs that are over. */
  async leftovers(room: RoomId): Promise<CheckpointLeftover[]> {
    const found: CheckpointLeftover[] = [];
    for (const job of await this.#deps.files.jobs(room)) {
      const doc = await this.#deps.store().find(room, job);
      if (doc === undefined || (doc.state !== "completed" && doc.endedAt === undefined)) continue;
      const records = await this.#deps.files.of(room, job);
      const bytes = records.reduce((sum, record) => sum + record.bytes, 0);
      const { state, endedAt = doc.submittedAt } = doc;
      const untilMs = this.#isNeeded(doc) ? Date.parse(endedAt) + KEPT_AFTER_END_MS : undefined;
      const until = untilMs === undefined ? undefined : new Date(untilMs).toISOString();
      found.push({ job, bytes, state, ...(until === undefined ? {} : { until }) });
    }
    return found;
  }

  #isNeeded(doc: JobDoc | undefined): boolean {
    if (doc === undefined || doc.state === "completed") return false;
    if (doc.endedAt === undefined) return true;
    return this.#deps.clock() - Date.parse(doc.endedAt) < KEPT_AFTER_END_MS;
  }

  async #removeAll(room: RoomId, job: JobId): Promise<void> {
    for (const record of await this.#deps.files.of(room, job)) {
      await this.#deps.files.remove(room, record);
    }
    await this.#deps.files.empty(room, job);
  }

  /** The same bytes may be recorded again at any moment: the document is looked at before each and after it. */
  async #removeOlder(
    room: RoomId,
    job: JobId,
    old: readonly ArtifactRecord[],
    latest: ResumePoint,
  ): Promise<void> {
    const { files } = this.#deps;
    const store = this.#deps.store();
    const isResume = async ({ artifact }: ArtifactRecord) =>
      (await store.find(room, job))?.resume?.artifact === artifact;
    const isHeld = async ({ artifact }: Pick<ArtifactRecord, "artifact">) =>
      (await files.find(room, artifact, job)) !== undefined;
    for (const record of old) {
      if (await isResume(record)) continue;
      await files.remove(room, record);
      if (!(await isResume(record)) || (await isHeld(record))) continue;
      const { artifact } = record;
      const instead = (await isHeld(latest)) ? latest : undefined;
      await store.apply(room, job, { type: "checkpointGone", artifact, instead });
    }
  }
}

function notHeld(job: JobId, artifact: ArtifactId): WaybillError {
  return new WaybillError(
    "conflict",
    `the room holds no whole checkpoint ${artifact.slice(0, 12)}… that was uploaded for job ${job}`,
    { hint: "complete its upload first" },
  );
}

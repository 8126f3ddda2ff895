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
};

export type CheckpointsDeps = {
  readonly files: CheckpointFiles;
  readonly store: () => JobStore;
  readonly tasks: BackgroundTasks;
  readonly clock: Clock;
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
   * does not hold it whole, uploaded for this job.
   */
  async record(
    room: RoomId,
    job: JobId,
    { attempt, artifact, data }: RouteBody<"recordCheckpoint">,
    caller: Caller,
  ): Promise<ResumePoint> {
    const { files, tasks } = this.#deps;
    const store = this.#deps.store();
    const before = await store.read(room, job);
    assertCurrent(before, { attempt, caller });
    const record = await files.find(room, artifact, job);
    if (record === undefined) {
      throw new WaybillError(
        "conflict",
        `the room holds no whole checkpoint ${artifact.slice(0, 12)}… that was uploaded for job ${job}`,
        { hint: "complete its upload first" },
      );
    }
    const resume = { artifact, bytes: record.bytes, data };
    const happening = { type: "checkpoint", caller, attempt, resume } as const;
    const { doc, changed } = await store.apply(room, job, happening);
    if (doc.resume === undefined)
      throw new WaybillError("internal", `job ${job} has no checkpoint`);
    if (changed) {
      // The one before stays: somebody may be reading what the last assignment named.
      const kept = new Set([artifact, before.resume?.artifact]);
      tasks.run("remove older checkpoints", () =>
        this.#remove(
          room,
          job,
          (old) => old.createdAt < record.createdAt && !kept.has(old.artifact),
        ),
      );
    }
    return doc.resume;
  }

  /** A job has its model: nobody begins from its checkpoints any more. */
  completed({ room, job, resume }: JobDoc): void {
    if (resume === undefined) return;
    this.#deps.tasks.run("remove checkpoints", () => this.#remove(room, job, () => true));
  }

  /** Removes what jobs of a room have left that are over. */
  async sweep(room: RoomId): Promise<void> {
    for (const job of await this.#deps.files.jobs(room)) {
      const doc = await this.#deps.store().find(room, job);
      if (this.#isNeeded(doc)) continue;
      await this.#remove(room, job, () => true);
    }
  }

  #isNeeded(doc: JobDoc | undefined): boolean {
    if (doc === undefined || doc.state === "completed") return false;
    if (doc.endedAt === undefined) return true;
    return this.#deps.clock() - Date.parse(doc.endedAt) < KEPT_AFTER_END_MS;
  }

  async #remove(
    room: RoomId,
    job: JobId,
    isOld: (record: ArtifactRecord) => boolean,
  ): Promise<void> {
    for (const record of await this.#deps.files.of(room, job)) {
      if (isOld(record)) await this.#deps.files.remove(room, record);
    }
  }
}

// Jobs in the bucket: documents by compare-and-swap, the markers of live jobs, and what follows from each change of
// state: the hub's event in the log, the news to the room. Decisions are in job-state.ts.
import { isDeepStrictEqual } from "node:util";
import {
  type HubToPeer,
  JobDoc,
  type JobId,
  type RoomId,
  WaybillError,
  isTerminal,
  messageOf,
} from "@waybill/sdk/protocol";
import { retry } from "@waybill/sdk/timing";
import type { Bucket } from "../bucket/bucket.ts";
import type { Documents } from "../bucket/documents.ts";
import type { Clock, Log } from "../log.ts";
import type { BackgroundTasks } from "./background-tasks.ts";
import type { EventLog } from "./event-log.ts";
import { type Claim, SKEW_MS, noSuchJob } from "./fence.ts";
import { jobIdOf, jobKey, jobsPrefix, markerKey, markersPrefix } from "./job-keys.ts";
import { type StateEvent, type Transition } from "./job-ending.ts";
import { type Happening, next, queuedEvent } from "./job-state.ts";
import { LOOKED_AT, wishIn } from "./logged-wish.ts";
import { mapParallel } from "./map-parallel.ts";

export type JobStoreDeps = {
  readonly rooms: Bucket;
  readonly documents: Documents;
  readonly events: EventLog;
  readonly tasks: BackgroundTasks;
  readonly clock: Clock;
  readonly log: Log;
  /** A job has its model. */
  readonly completed: (doc: JobDoc) => void;
  readonly broadcast: (room: RoomId, message: HubToPeer) => void;
  /** Aborted when the hub stops. */
  readonly stopping: AbortSignal;
  /** A worker that has not renewed for this long loses its job. */
  readonly leaseMs: number;
};

export type Applied = {
  readonly doc: JobDoc;
  /** What it was applied to. */
  readonly before: JobDoc;
  /** Whether this call changed the document. */
  readonly changed: boolean;
  /** What the hub writes to the log about it. */
  readonly events: readonly StateEvent[];
};

export type Marker = { readonly job: JobId; readonly modifiedMs: number };

/** A job while somebody writes for its worker. */
export type Held = {
  readonly doc: JobDoc;
  /** Until another hub may take the lease to be over. */
  readonly timeLeftMs: () => number;
};

/** GETs at once when many jobs are read. */
const PARALLEL_READS = 16;
/** How long the hub tries to store an event of its own; readers can do without all but the last (`endEvent`). */
const EVENT_RETRY_MS = 20_000;

export class JobStore {
  readonly #deps: JobStoreDeps;

  constructor(deps: JobStoreDeps) {
    this.#deps = deps;
  }

  /** How long the lease of an assignment or a renewal is. */
  get leaseMs(): number {
    return this.#deps.leaseMs;
  }

  /** The job as stored, or as remembered for at most `maxAgeMs`; throws `not_found`. */
  async read(room: RoomId, job: JobId, options: { maxAgeMs?: number } = {}): Promise<JobDoc> {
    const found = await this.find(room, job, options);
    if (found === undefined) throw noSuchJob(room, job);
    return found;
  }

  async find(
    room: RoomId,
    job: JobId,
    options: { maxAgeMs?: number } = {},
  ): Promise<JobDoc | undefined> {
    return (await this.#deps.documents.read(JobDoc, jobKey(room, job), options))?.doc;
  }

  /**
   * Stores a new job with its marker and first event. The same job again answers what is stored. Throws `conflict`
   * when the id names another job.
   */
  async create(doc: JobDoc): Promise<Applied> {
    const { room, job } = doc;
    const { documents, rooms, events } = this.#deps;
    // events.md §1: a job without a marker would be forgotten by a restart.
    await rooms.put(markerKey(room, job), "");
    const created = await Promise.allSettled([
      documents.create(JobDoc, jobKey(room, job), doc),
      events.begin(room, job, queuedEvent(doc)),
    ]);
    const failed = created.find((each) => each.status === "rejected");
    if (failed === undefined) {
      this.#tell(doc);
      return { doc, before: doc, changed: true, events: [] };
    }
    if (!(failed.reason instanceof WaybillError) || failed.reason.code !== "conflict") {
      throw failed.reason;
    }
    const stored = await this.read(room, job);
    if (isTerminal(stored.state)) this.#dropMarker(room, job);
    if (!isDeepStrictEqual(stored.spec, doc.spec)) {
      throw new WaybillError("conflict", `job id ${job} is taken by another job`);
    }
    // The first try may have ended between the document and its event.
    if (stored.state === "queued") await events.put(room, job, queuedEvent(stored));
    return { doc: stored, before: stored, changed: false, events: [] };
  }

  /**
   * Applies what happened. `onStored` is called as soon as the document is stored, before the log and the room
   * know. Throws what `next` throws, `not_found`, `storage_failed`.
   */
  async apply(
    room: RoomId,
    job: JobId,
    happening: Happening,
    onStored: (applied: Applied) => void = () => {},
  ): Promise<Applied> {
    const { documents, clock, tasks, leaseMs } = this.#deps;
    let before: JobDoc | undefined;
    let transition: Transition | undefined;
    const updated = await documents.update(JobDoc, jobKey(room, job), (doc) => {
      if (doc === undefined) throw noSuchJob(room, job);
      before = doc;
      transition = next(doc, happening, clock(), leaseMs);
      return transition.doc === doc ? undefined : transition.doc;
    });
    if (updated === undefined || before === undefined) throw noSuchJob(room, job);
    const { doc, changed } = updated;
    if (!changed) return { doc, before, changed, events: [] };
    const events = transition?.events ?? [];
    const applied = { doc, before, changed, events };
    onStored(applied);
    if (events.length > 0) await tasks.finish(this.#record(doc, events));
    if (doc.state !== before.state || doc.attempt !== before.attempt) this.#tell(doc);
    if (isTerminal(doc.state)) this.#dropMarker(room, job);
    if (doc.state === "completed") this.#deps.completed(doc);
    return applied;
  }

  /**
   * The job with time on its worker's lease to write for it: with little left it is renewed first, so that nobody takes the
   * job away meanwhile. Throws `stale_attempt` when somebody has, `storage_failed`.
   */
  async hold(remembered: JobDoc, { attempt, caller }: Omit<Claim, "room" | "job">): Promise<Held> {
    const { clock, leaseMs } = this.#deps;
    const skewMs = Math.min(SKEW_MS, Math.ceil(leaseMs / 6));
    const left = ({ leaseUntil }: JobDoc) => Date.parse(leaseUntil ?? "") - skewMs - clock();
    let doc = remembered;
    if (!(left(doc) > skewMs)) {
      // Says nothing new but that the worker is here.
      const renewal = { type: "renew", caller, attempt, state: "assigned", lastSeq: 0 } as const;
      ({ doc } = await this.apply(doc.room, doc.job, renewal));
    }
    return { doc, timeLeftMs: () => left(doc) };
  }

  /** Before an attempt is followed by another: what its worker was told by others than the hub. */
  async noteLoggedWish({ room, job, attempt, wish: known }: JobDoc): Promise<void> {
    if (known?.name === "cancel") return;
    const wish = wishIn(await this.#deps.events.last(room, job, LOOKED_AT), attempt);
    if (wish !== undefined) await this.apply(room, job, { type: "wish", wish });
  }

  /** Ids of a room's jobs, oldest first by their own clock. */
  async jobIds(room: RoomId): Promise<JobId[]> {
    const ids: JobId[] = [];
    for await (const name of this.#deps.rooms.listFolders(jobsPrefix(room))) {
      const job = jobIdOf(name);
      if (job !== undefined) ids.push(job);
    }
    return ids;
  }

  /** Markers of a room's jobs that have not ended, as far as is known. */
  async markers(room: RoomId): Promise<Marker[]> {
    const markers: Marker[] = [];
    const prefix = markersPrefix(room);
    for await (const { key, modifiedMs } of this.#deps.rooms.list(prefix)) {
      const job = jobIdOf(key.slice(prefix.length));
      if (job !== undefined) markers.push({ job, modifiedMs });
    }
    return markers;
  }

  /** Documents of several jobs in the order given; `undefined` for those that are not there. */
  async readMany(
    room: RoomId,
    jobs: readonly JobId[],
    options: { maxAgeMs?: number } = {},
  ): Promise<(JobDoc | undefined)[]> {
    return mapParallel(jobs, PARALLEL_READS, (job) => this.find(room, job, options));
  }

  /** Removes a marker whose job has ended or was never created. */
  async removeMarker(room: RoomId, job: JobId): Promise<void> {
    await this.#deps.rooms.delete([markerKey(room, job)]);
  }

  #dropMarker(room: RoomId, job: JobId): void {
    // A marker that stays is removed by the sweep.
    this.#deps.tasks.run("remove marker", () => this.removeMarker(room, job));
  }

  async #record(doc: JobDoc, events: readonly StateEvent[]): Promise<void> {
    const { events: eventLog, clock, stopping, log } = this.#deps;
    const put = () => eventLog.put(doc.room, doc.job, ...events);
    await retry(put, { forMs: EVENT_RETRY_MS, now: clock, signal: stopping }).catch(
      (error: unknown) => {
        // The document is the truth; `readEvents` restores a missing last event from it.
        const which = events.map(({ seq, state }) => `${seq} (${state})`).join(", ");
        log("warn", `event ${which} is not in the log: ${messageOf(error)}`, {
          room: doc.room,
          job: doc.job,
        });
      },
    );
  }

  #tell({ room, job, state, worker, attempt }: JobDoc): void {
    this.#deps.broadcast(room, {
      type: "job.changed",
      job,
      state,
      attempt,
      ...(worker === undefined ? {} : { worker }),
    });
  }
}

// Looks after the jobs that have not ended: what the bucket's markers name is queued for workers here, taken from
// workers that were lost, or forgotten when it has ended. Run for a room when a worker joins it, for active rooms
// every few seconds, and for all rooms now and then.
import {
  type JobDoc,
  type JobId,
  type ModelId,
  type RoomId,
  RoomId as RoomIdSchema,
  isTerminal,
  messageOf,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Bucket } from "../bucket/bucket.ts";
import type { Clock, Log } from "../log.ts";
import type { BackgroundTasks } from "./background-tasks.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { EventLog } from "./event-log.ts";
import { type Happening, leaseOver, queuedEvent } from "./job-state.ts";
import type { JobStore, Marker } from "./job-store.ts";
import { mapParallel } from "./map-parallel.ts";

export type LiveJobsDeps = {
  readonly rooms: Bucket;
  readonly store: JobStore;
  /** The model of a job that the registry names. */
  readonly modelOf: (room: RoomId, job: JobId) => Promise<ModelId | undefined>;
  readonly events: EventLog;
  readonly dispatcher: Dispatcher;
  readonly tasks: BackgroundTasks;
  readonly clock: Clock;
  readonly log: Log;
  readonly leaseMs: number;
  /** As `Silence.awayMs`. */
  readonly awayMs: number;
  /** Rooms with peers connected here. */
  readonly activeRooms: () => readonly RoomId[];
};

/** A marker without a job: its submission failed or is under way. */
const ORPHAN_MS = 3_600_000;
/** Between two looks at every room, for jobs whose hub and worker are both gone. */
const ALL_ROOMS_MS = 300_000;
/** What is remembered of jobs other hubs may handle is asked again after this. */
const FOREIGN_MAX_AGE_MS = 15_000;
const PARALLEL_ROOMS = 8;
const PARALLEL_JOBS = 16;

export class LiveJobs {
  readonly #deps: LiveJobsDeps;
  readonly #reviews = new Map<RoomId, { again: boolean }>();
  /** Rooms that had live jobs when last looked at. */
  readonly #busyRooms = new Set<RoomId>();
  /** Jobs with a silent worker whose logs were looked at, by the end of the lease. */
  readonly #lookedAt = new Map<JobId, string>();
  #allRoomsAtMs = Number.NEGATIVE_INFINITY;
  /** No lease is taken to be over before this. */
  #trustLeasesFromMs: number;

  constructor(deps: LiveJobsDeps) {
    this.#deps = deps;
    this.#trustLeasesFromMs = deps.clock() + deps.leaseMs;
  }

  /** Workers could not renew for a while (the hub or its store was away): gives them a lease's time to do so. */
  forgiveLeases(): void {
    this.#trustLeasesFromMs = this.#deps.clock() + this.#deps.leaseMs;
  }

  /** A room has a live job. */
  note(room: RoomId): void {
    this.#busyRooms.add(room);
  }

  /** Looks at a room's live jobs soon; calls while one look is under way share the next. */
  requestReview(room: RoomId): void {
    const running = this.#reviews.get(room);
    if (running !== undefined) {
      running.again = true;
      return;
    }
    const review = { again: false };
    this.#reviews.set(room, review);
    this.#deps.tasks.run("look after live jobs", async () => {
      try {
        do {
          review.again = false;
          await this.review(room, this.#deps.clock());
        } while (review.again);
      } finally {
        this.#reviews.delete(room);
      }
    });
  }

  /** One round over the rooms that need it. Throws `storage_failed`. */
  async sweep(nowMs: number): Promise<void> {
    try {
      const rooms = new Set([...this.#deps.activeRooms(), ...this.#busyRooms]);
      if (nowMs - this.#allRoomsAtMs >= ALL_ROOMS_MS) {
        for await (const name of this.#deps.rooms.listFolders("")) {
          const parsed = v.safeParse(RoomIdSchema, name);
          if (parsed.success) rooms.add(parsed.output);
        }
        this.#allRoomsAtMs = nowMs;
      }
      const reviews = await mapParallel([...rooms], PARALLEL_ROOMS, (room) =>
        this.review(room, nowMs).catch((error: unknown) => ({ error })),
      );
      const failed = reviews.find((outcome) => outcome !== undefined);
      if (failed !== undefined) throw failed.error;
    } catch (error) {
      this.forgiveLeases();
      throw error;
    }
  }

  /** Looks at every live job of a room; one that cannot be read does not keep it from the others. */
  async review(room: RoomId, nowMs: number): Promise<void> {
    this.#deps.dispatcher.refreshModes(room);
    const markers = await this.#deps.store.markers(room);
    if (markers.length > 0) this.#busyRooms.add(room);
    else this.#busyRooms.delete(room);
    const { dispatcher } = this.#deps;
    const none = (job: JobId) => (error: unknown) => {
      this.#deps.log("warn", `job ${job}: ${messageOf(error)}`, { room });
      return undefined;
    };
    const looks = await mapParallel(markers, PARALLEL_JOBS, (marker) =>
      this.#look(room, marker, nowMs).catch(none(marker.job)),
    );
    const docs = looks.filter((doc) => doc !== undefined);
    const [queued, silent] = [
      docs.filter(({ state }) => state === "queued"),
      docs.filter(({ state }) => state !== "queued"),
    ];
    // All at once, so that the dispatcher sees their order before it offers the first.
    dispatcher.enqueue(room, queued);
    // Those that wait go first: only who is free after that may take a job from a silent worker.
    const served = dispatcher.servedNow(room, silent);
    const taken = await mapParallel(silent, PARALLEL_JOBS, (doc) =>
      this.#expire(doc, served.has(doc.job)).catch(none(doc.job)),
    );
    dispatcher.enqueue(
      room,
      taken.filter((doc) => doc !== undefined),
    );
  }

  /** Does what one job needs; answers it when it waits and the dispatcher does not know yet, and when its worker is silent. */
  async #look(
    room: RoomId,
    { job, modifiedMs }: Marker,
    nowMs: number,
  ): Promise<JobDoc | undefined> {
    const { store, dispatcher, events } = this.#deps;
    const known = dispatcher.knows(room, job);
    const maxAgeMs = known ? Number.POSITIVE_INFINITY : FOREIGN_MAX_AGE_MS;
    const doc = await store.find(room, job, { maxAgeMs });
    const isSilent = doc !== undefined && leaseOver(doc, nowMs);
    if (!isSilent) this.#lookedAt.delete(job);
    if (doc === undefined) {
      if (nowMs - modifiedMs > ORPHAN_MS) await store.removeMarker(room, job);
    } else if (isTerminal(doc.state)) {
      dispatcher.forget(room, job);
      await store.removeMarker(room, job);
    } else if (doc.state === "queued") {
      // A slot of an attempt that is over (its worker was cut off) does not keep the next one waiting.
      if (dispatcher.knows(room, job, doc.attempt)) return undefined;
      // The submitting hub may have been killed before it wrote this.
      if (doc.attempt === 0) await events.put(room, job, queuedEvent(doc));
      return doc;
    } else if (isSilent && nowMs >= this.#trustLeasesFromMs) {
      return doc;
    } else {
      dispatcher.reclaim(doc);
    }
    return undefined;
  }

  /** Takes a job from its worker if that serves something; answers it when it waits again. */
  async #expire(remembered: JobDoc, served: boolean): Promise<JobDoc | undefined> {
    const { store, dispatcher } = this.#deps;
    const { room, job } = remembered;
    const leaseUntil = remembered.leaseUntil ?? "";
    let happening: Happening = { type: "expire", served, awayMs: this.#deps.awayMs };
    // Nobody adds to the log of a silent worker: once is enough while it keeps its job.
    if (served || this.#lookedAt.get(job) !== leaseUntil) {
      happening = (await this.#loggedEnd(remembered)) ?? happening;
      await store.noteLoggedWish(remembered);
      this.#lookedAt.set(job, leaseUntil);
    }
    const { doc, changed } = await store.apply(room, job, happening);
    if (!changed) return undefined;
    this.#lookedAt.delete(job);
    dispatcher.revoke(remembered, doc.reason ?? "its lease ran out");
    return doc.state === "queued" ? doc : undefined;
  }

  /** The end that the log holds when the hub was killed between the last events and the document. */
  async #loggedEnd({ room, job, attempt }: JobDoc): Promise<Happening | undefined> {
    const last = (await this.#deps.events.tail(room, job))?.last;
    if (last?.type !== "state" || !isTerminal(last.state) || last.attempt !== attempt) {
      return undefined;
    }
    const model = last.state === "completed" ? await this.#deps.modelOf(room, job) : undefined;
    return { type: "recover", end: last, model };
  }
}

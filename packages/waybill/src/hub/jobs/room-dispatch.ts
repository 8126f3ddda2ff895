// Gives one room's queued jobs to the workers connected here. The bucket decides: every step is a compare-and-swap of
// the job's document, so a second hub, or this one after a restart, can at worst be told that it came too late.
//
//   queue ──assign (CAS)──▶ offered ──accept──▶ held ──released──▶ slot free
//     ▲                        │ decline, silence, gone
//     └──────── return (CAS) ──┘
import { isDeepStrictEqual } from "node:util";
import {
  type HubToPeer,
  type JobDoc,
  type JobId,
  type PeerId,
  type RoomId,
  WaybillError,
  type WorkerMode,
  assertNever,
  isTerminal,
  messageOf,
} from "@waybill/sdk/protocol";
import { retry } from "@waybill/sdk/timing";
import type { Clock, Log } from "../log.ts";
import type { ConnectedPeer, HeldJob, WorkerMessage } from "../signaling/index.ts";
import type { BackgroundTasks } from "./background-tasks.ts";
import { offerFairly } from "./fair-queue.ts";
import { JobQueue, submitterOf, wantedOf } from "./job-queue.ts";
import { assignmentOf } from "./job-state.ts";
import type { Applied, JobStore } from "./job-store.ts";
import {
  type Outlook,
  type Refusal,
  chooseWorker,
  isFree,
  outlookOf,
  refusedAgain,
} from "./matching.ts";
import type { ServiceTimes } from "./service-times.ts";
import { servedNow, silenceReason } from "./silent-worker.ts";
import { WorkerSlots } from "./worker-slots.ts";

export type RoomDispatchDeps = {
  readonly store: JobStore;
  readonly tasks: BackgroundTasks;
  readonly clock: Clock;
  readonly log: Log;
  /** Where a job that is queued again goes; this room's dispatch may be another by then. */
  readonly requeue: (doc: JobDoc) => void;
  /** Asks for a look at the room's live jobs in the bucket. */
  readonly requestReview: (room: RoomId) => void;
  /** What is wanted of the room's workers; those without an entry are active. */
  readonly modes: (room: RoomId) => Promise<Readonly<Record<PeerId, WorkerMode>>>;
  /** Tells a worker that has come back what somebody wants of its job. */
  readonly remind: (doc: JobDoc) => void;
  readonly send: (room: RoomId, worker: PeerId, message: HubToPeer) => boolean;
  /** How long a worker may take to answer an offer. */
  readonly acceptTimeoutMs: number;
  /** Aborted when the hub stops. */
  readonly stopping: AbortSignal;
};

type WorkerMessageOf<T extends WorkerMessage["type"]> = Extract<WorkerMessage, { type: T }>;

const ACTIVE: WorkerMode = { mode: "active" };
/** Tries to give an unaccepted job back end after this; then its lease does. */
const RETURN_RETRY_MS = 60_000;
/** After a failed assignment: the store is away, and must not be hammered. */
const ASSIGN_RETRY_MS = 500;

export class RoomDispatch {
  readonly #room: RoomId;
  readonly #deps: RoomDispatchDeps;
  readonly #workers = new Map<PeerId, WorkerSlots>();
  readonly #queue = new JobQueue();
  readonly #service: ServiceTimes;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Jobs that silent workers keep because nobody else is free. */
  #kept: readonly JobDoc[] = [];

  constructor(room: RoomId, deps: RoomDispatchDeps, service: ServiceTimes) {
    this.#room = room;
    this.#service = service;
    this.#deps = deps;
  }

  get hasWorkers(): boolean {
    return this.#workers.size > 0;
  }

  /** A worker is here; it keeps the jobs it holds if they are still its own. */
  join(peer: ConnectedPeer, held: readonly HeldJob[]): void {
    if (peer.worker === undefined) return;
    const worker = new WorkerSlots(peer, peer.worker.capabilities, this.#deps.clock());
    this.#workers.set(worker.workerId, worker);
    for (const { job, attempt } of held) {
      worker.slots.set(job, { attempt, accepted: true, timer: undefined });
      this.#deps.tasks.run("check a held job", () => this.#check(worker, job, attempt));
    }
    this.refreshModes();
  }

  /** Reads what is wanted of the workers, and tells those that do not know yet. */
  refreshModes(): void {
    const { tasks, modes, send } = this.#deps;
    tasks.run("read the modes of workers", async () => {
      const wanted = await modes(this.#room);
      for (const worker of this.#workers.values()) {
        const mode = wanted[worker.workerId];
        const isNews = mode !== undefined && !isDeepStrictEqual(worker.mode, mode);
        worker.mode = mode ?? ACTIVE;
        if (isNews) send(this.#room, worker.workerId, { type: "worker.mode", mode });
      }
      this.pump();
    });
  }

  leave(peer: ConnectedPeer): void {
    const worker = this.#workerOf(peer);
    if (worker === undefined) return;
    this.#workers.delete(worker.workerId);
    for (const [job, slot] of worker.slots) {
      clearTimeout(slot.timer);
      if (slot.accepted || slot.attempt === undefined) continue;
      this.#giveBack(job, slot.attempt, `${worker.name} left before it accepted`);
    }
  }

  onMessage(peer: ConnectedPeer, message: Exclude<WorkerMessage, { type: "command.ack" }>): void {
    const worker = this.#workerOf(peer);
    if (worker === undefined) return;
    switch (message.type) {
      case "job.accept":
        this.#onAccept(worker, message);
        return;
      case "job.decline":
        this.#refused(worker, message.job, message.attempt, message.reason);
        return;
      case "job.released":
        this.#free(worker, message.job, message.attempt);
        this.pump();
        return;
      default:
        assertNever(message);
    }
  }

  /** Jobs are queued. */
  enqueue(docs: readonly JobDoc[]): void {
    for (const doc of docs) if (!this.#isGoingOut(doc.job, doc.attempt)) this.#queue.add(doc);
    this.pump();
  }

  /** A worker's attempt was interrupted and the job is queued again: others go first, for it may be leaving. */
  interrupted(doc: JobDoc, worker: PeerId): void {
    const nowMs = this.#deps.clock();
    const before = this.#queue.refusals(doc.job).get(worker);
    this.#refuse(doc.job, worker, refusedAgain(before, "it was interrupted there", nowMs));
    this.enqueue([doc]);
  }

  /** A job waits no more: it was cancelled, or another hub gave it away. */
  forget(job: JobId): void {
    this.#queue.forget(job);
  }

  /** Looks at a job that the bucket says is assigned: one that never reached its worker goes back to the queue. */
  reclaim(doc: JobDoc): void {
    const worker = doc.worker === undefined ? undefined : this.#workers.get(doc.worker);
    if (doc.state !== "assigned" || worker === undefined || worker.slots.has(doc.job)) return;
    this.#giveBack(doc.job, doc.attempt, `${worker.name} does not know of it`);
  }

  /** Whether this room's dispatch knows the job as waiting or given to one of its workers. */
  knows(job: JobId, after = 0): boolean {
    return this.#queue.has(job) || this.#isGoingOut(job, after);
  }

  outlook(doc: JobDoc): Outlook {
    const job = { wanted: wantedOf(doc), refusals: this.#queue.refusals(doc.job) };
    return outlookOf(job, [...this.#workers.values()], this.#deps.clock());
  }

  /** Which jobs with a silent worker are served by taking them now; the others are looked at again when somebody is free. */
  servedNow(silent: readonly JobDoc[]): Set<JobId> {
    const served = servedNow(silent, this.#present(), this.#refusalsOf, this.#deps.clock());
    this.#kept = silent.filter(({ job }) => !served.has(job));
    return served;
  }

  /** See `silenceReason`. */
  silenceReason(doc: JobDoc, times: { nowMs: number; leaseMs: number }): string {
    return silenceReason(doc, this.#present(), this.#refusalsOf, times);
  }

  readonly #present = () => [...this.#workers.values()];
  readonly #refusalsOf = (job: JobId) => this.#queue.refusals(job);

  jobsOf(worker: PeerId): JobId[] {
    return [...(this.#workers.get(worker)?.slots.keys() ?? [])];
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const worker of this.#workers.values()) {
      for (const slot of worker.slots.values()) clearTimeout(slot.timer);
    }
  }

  /** Offers what can be offered. */
  pump(): void {
    if (this.#deps.stopping.aborted) return;
    const free = new Set([...this.#workers.values()].filter(isFree));
    if (free.size === 0) return;
    offerFairly(this.#queue.all(), this.#running(), this.#service.lastMs, (queued) => {
      if (free.size === 0) return "full";
      const worker = chooseWorker(queued, free, this.#deps.clock());
      if (worker === undefined) return "unfit";
      const { job, submitter } = queued;
      this.#queue.take(job);
      worker.slots.set(job, { attempt: undefined, accepted: false, timer: undefined, submitter });
      this.#service.serve(submitter, this.#deps.clock());
      if (!isFree(worker)) free.delete(worker);
      this.#deps.tasks.run("assign a job", () => this.#assign(worker, job));
      return "placed";
    });
    const { clock, requestReview } = this.#deps;
    if (servedNow(this.#kept, this.#present(), this.#refusalsOf, clock()).size === 0) return;
    this.#kept = [];
    requestReview(this.#room);
  }

  /** Jobs that are running here or going out, by submitter. */
  #running(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { slots } of this.#workers.values()) {
      for (const { submitter = "" } of slots.values()) {
        counts.set(submitter, (counts.get(submitter) ?? 0) + 1);
      }
    }
    return counts;
  }

  async #assign(worker: WorkerSlots, job: JobId): Promise<void> {
    const { name, capabilities, workerId } = worker;
    const assignee = { name, kind: capabilities.kind };
    const happening = { type: "assign", worker: workerId, assignee } as const;
    try {
      const applied = await this.#deps.store.apply(this.#room, job, happening, (stored) =>
        this.#offer(worker, stored),
      );
      if (applied.changed) return;
      worker.slots.delete(job);
      this.#queue.forget(job);
      // Perhaps our own write of which we never learned.
      this.reclaim(applied.doc);
    } catch (error) {
      worker.slots.delete(job);
      if (error instanceof WaybillError && !error.retryable) throw error;
      this.#deps.log("warn", `job ${job} is not assigned yet: ${messageOf(error)}`);
      this.#later(ASSIGN_RETRY_MS, () => {
        this.#deps.tasks.run("queue a job again", () => this.#requeue(job));
      });
    }
    this.pump();
  }

  async #requeue(job: JobId): Promise<void> {
    const doc = await this.#deps.store.find(this.#room, job);
    if (doc?.state === "queued") this.#deps.requeue(doc);
    else if (doc !== undefined) this.reclaim(doc);
  }

  #offer(worker: WorkerSlots, { doc, events: [event] }: Applied): void {
    const slot = worker.slots.get(doc.job);
    if (slot === undefined || event === undefined) return;
    slot.attempt = doc.attempt;
    const { job, attempt } = doc;
    const sent =
      this.#workers.get(worker.workerId) === worker &&
      this.#deps.send(this.#room, worker.workerId, {
        type: "job.offer",
        assignment: { ...assignmentOf(doc, event), leaseMs: this.#deps.store.leaseMs },
      });
    if (!sent) {
      worker.slots.delete(job);
      this.#giveBack(job, attempt, `${worker.name} left before it was offered`);
      return;
    }
    const { acceptTimeoutMs } = this.#deps;
    slot.timer = setTimeout(() => {
      const reason = `did not answer the offer within ${acceptTimeoutMs / 1000} s`;
      this.#revoke(worker, job, attempt, reason);
      this.#refused(worker, job, attempt, reason);
    }, acceptTimeoutMs);
  }

  #onAccept(worker: WorkerSlots, { job, attempt }: WorkerMessageOf<"job.accept">): void {
    const slot = worker.slots.get(job);
    if (slot?.attempt === attempt) {
      clearTimeout(slot.timer);
      slot.accepted = true;
      this.#queue.forget(job);
      return;
    }
    // From before this hub started, or too late.
    if (slot === undefined) worker.slots.set(job, { attempt, accepted: true, timer: undefined });
    this.#deps.tasks.run("check an accepted job", () => this.#check(worker, job, attempt));
  }

  #refused(worker: WorkerSlots, job: JobId, attempt: number, reason: string): void {
    if (!this.#free(worker, job, attempt)) return;
    const nowMs = this.#deps.clock();
    const before = this.#queue.refusals(job).get(worker.workerId);
    const refusal = refusedAgain(before, reason, nowMs);
    this.#refuse(job, worker.workerId, refusal);
    this.#giveBack(job, attempt, `${worker.name} declined: ${reason}`);
    this.pump();
  }

  #refuse(job: JobId, worker: PeerId, refusal: Refusal): void {
    this.#queue.refuse(job, worker, refusal);
    this.#later(Math.max(0, refusal.untilMs - this.#deps.clock()), () => this.pump());
  }

  /** Whether the worker had that attempt. */
  #free(worker: WorkerSlots, job: JobId, attempt: number): boolean {
    const slot = worker.slots.get(job);
    if (slot?.attempt !== attempt) return false;
    clearTimeout(slot.timer);
    worker.slots.delete(job);
    worker.idleSinceMs = this.#deps.clock();
    return true;
  }

  #giveBack(job: JobId, attempt: number, reason: string): void {
    const { store, tasks, stopping } = this.#deps;
    const happening = { type: "return", attempt, reason } as const;
    const giveBack = () => store.apply(this.#room, job, happening);
    tasks.run("give a job back", async () => {
      const { doc } = await retry(giveBack, { forMs: RETURN_RETRY_MS, signal: stopping });
      if (doc.state === "queued") this.#deps.requeue(doc);
    });
  }

  /** Tells a worker to drop an attempt that is not its own any more. */
  async #check(worker: WorkerSlots, job: JobId, attempt: number): Promise<void> {
    const doc = await this.#deps.store.find(this.#room, job);
    if (doc === undefined) {
      this.#revoke(worker, job, attempt, "there is no such job");
    } else if (doc.attempt !== attempt || doc.worker !== worker.workerId) {
      this.#revoke(worker, job, attempt, `the job is at attempt ${doc.attempt}, ${doc.state}`);
    } else if (isTerminal(doc.state) && doc.state !== "completed") {
      // A worker whose completed job's answer was lost asks again and is told.
      this.#revoke(worker, job, attempt, `the job is ${doc.state}`);
    } else {
      const slot = worker.slots.get(job);
      if (slot !== undefined) slot.submitter = submitterOf(doc);
      if (doc.startedAt !== undefined) {
        this.#service.learn(submitterOf(doc), Date.parse(doc.startedAt));
      }
      this.#deps.remind(doc);
    }
  }

  #revoke(worker: WorkerSlots, job: JobId, attempt: number, reason: string): void {
    if (this.#workers.get(worker.workerId) !== worker) return;
    this.#deps.send(this.#room, worker.workerId, { type: "job.revoke", job, attempt, reason });
  }

  #workerOf(peer: ConnectedPeer): WorkerSlots | undefined {
    const worker = this.#workers.get(peer.info.peerId);
    return worker?.peer === peer ? worker : undefined;
  }

  /** Whether a worker has the job, or is being given it, in an attempt after the one named. */
  #isGoingOut(job: JobId, after = 0): boolean {
    for (const { slots } of this.#workers.values()) {
      const slot = slots.get(job);
      if (slot !== undefined && (slot.attempt ?? Number.POSITIVE_INFINITY) > after) return true;
    }
    return false;
  }

  #later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, ms);
    this.#timers.add(timer);
  }
}

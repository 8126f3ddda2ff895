// Brings queued jobs to connected workers: one `RoomDispatch` for each room with a worker here. Rebuilt from the bucket
// when a room's first worker connects; nothing of it must survive a restart.
import type { HubToPeer, JobDoc, JobId, PeerId, RoomId, WorkerInfo } from "@waybill/sdk/protocol";
import type { Signaling } from "../signaling/index.ts";
import { type Outlook, type Refusal, outlookOf } from "./matching.ts";
import { wantedOf } from "./job-queue.ts";
import { leaseOver } from "./job-state.ts";
import { ServiceTimes } from "./service-times.ts";
import { silenceReason } from "./silent-worker.ts";
import { RoomDispatch, type RoomDispatchDeps } from "./room-dispatch.ts";

export type DispatcherDeps = Omit<RoomDispatchDeps, "send" | "requeue" | "acceptTimeoutMs"> & {
  readonly signaling: Pick<Signaling, "listen" | "send" | "peers">;
  readonly acceptTimeoutMs?: number;
};

/** `docs/protocol/signaling.md` §5. */
const ACCEPT_TIMEOUT_MS = 10_000;
/** Rooms whose turns are remembered after their last worker left: far more than have workers that come and go. */
const MAX_ROOMS = 4096;

export class Dispatcher {
  readonly #deps: DispatcherDeps;
  readonly #rooms = new Map<RoomId, RoomDispatch>();
  /** Outlive a room's dispatch: its only worker may come and go. */
  readonly #service = new Map<RoomId, ServiceTimes>();
  #unlisten: (() => void) | undefined;

  constructor(deps: DispatcherDeps) {
    this.#deps = deps;
  }

  /** Begins to listen to workers. */
  start(): void {
    this.#unlisten ??= this.#deps.signaling.listen({
      joined: (peer, held) => {
        if (peer.worker === undefined) return;
        this.#dispatchOf(peer.room).join(peer, held);
        // What waits for this worker, and what was given to it and never arrived.
        this.#deps.requestReview(peer.room);
      },
      left: (peer) => {
        const dispatch = this.#rooms.get(peer.room);
        dispatch?.leave(peer);
        if (dispatch?.hasWorkers !== false) return;
        dispatch.stop();
        this.#rooms.delete(peer.room);
      },
      workerMessage: (peer, message) => {
        if (message.type === "command.ack") return;
        this.#rooms.get(peer.room)?.onMessage(peer, message);
      },
    });
  }

  stop(): void {
    this.#unlisten?.();
    for (const dispatch of this.#rooms.values()) dispatch.stop();
    this.#rooms.clear();
  }

  /** Jobs are queued; without a worker here they wait in the bucket. */
  enqueue(room: RoomId, docs: readonly JobDoc[]): void {
    this.#rooms.get(room)?.enqueue(docs);
  }

  /** See `RoomDispatch.refreshModes`. */
  refreshModes(room: RoomId): void {
    this.#rooms.get(room)?.refreshModes();
  }

  /** See `RoomDispatch.interrupted`. */
  interrupted(doc: JobDoc, worker: PeerId): void {
    this.#rooms.get(doc.room)?.interrupted(doc, worker);
  }

  /** A job is queued no more. */
  forget(room: RoomId, job: JobId): void {
    this.#rooms.get(room)?.forget(job);
  }

  /** See `RoomDispatch.reclaim`. */
  reclaim(doc: JobDoc): void {
    this.#rooms.get(doc.room)?.reclaim(doc);
  }

  /** Whether a job waits here or was given to a worker connected here. */
  knows(room: RoomId, job: JobId, after?: number): boolean {
    return this.#rooms.get(room)?.knows(job, after) ?? false;
  }

  /** Takes an attempt from a worker that is connected here. */
  revoke(doc: JobDoc, reason: string): void {
    const { room, job, worker, attempt } = doc;
    if (worker === undefined) return;
    this.#deps.signaling.send(room, worker, { type: "job.revoke", job, attempt, reason });
  }

  /** A job's document with the reason why it waits, or what becomes of it while its worker is silent, as far as is known here. */
  withReason(doc: JobDoc): JobDoc {
    if (doc.state === "queued") return { ...doc, reason: this.outlook(doc).reason };
    const nowMs = this.#deps.clock();
    if (!leaseOver(doc, nowMs)) return doc;
    const times = { nowMs, leaseMs: this.#deps.store.leaseMs };
    const reason =
      this.#rooms.get(doc.room)?.silenceReason(doc, times) ??
      silenceReason(doc, [], () => new Map(), times);
    return { ...doc, reason };
  }

  /** See `RoomDispatch.servedNow`. */
  servedNow(room: RoomId, silent: readonly JobDoc[]): ReadonlySet<JobId> {
    return this.#rooms.get(room)?.servedNow(silent) ?? new Set();
  }

  /** What a queued job can expect of the workers connected here. */
  outlook(doc: JobDoc): Outlook {
    const job = { wanted: wantedOf(doc), refusals: new Map<PeerId, Refusal>() };
    return this.#rooms.get(doc.room)?.outlook(doc) ?? outlookOf(job, [], this.#deps.clock());
  }

  /** Workers connected here. */
  workers(room: RoomId): WorkerInfo[] {
    return this.#deps.signaling.peers(room).flatMap(({ info, worker, serves }) =>
      worker === undefined
        ? []
        : [
            {
              workerId: info.peerId,
              name: info.name,
              capabilities: worker.capabilities,
              jobs: this.#rooms.get(room)?.jobsOf(info.peerId) ?? [],
              connectedAt: worker.connectedAt,
              ...(worker.cached === undefined ? {} : { cached: [...worker.cached] }),
              ...(serves === undefined ? {} : { serves: true as const }),
            },
          ],
    );
  }

  #dispatchOf(room: RoomId): RoomDispatch {
    const known = this.#rooms.get(room);
    if (known !== undefined) return known;
    const { signaling, acceptTimeoutMs = ACCEPT_TIMEOUT_MS, ...deps } = this.#deps;
    const send = (to: RoomId, worker: PeerId, message: HubToPeer) =>
      signaling.send(to, worker, message);
    const service = this.#service.get(room) ?? new ServiceTimes();
    this.#service.delete(room);
    this.#service.set(room, service);
    for (const oldest of this.#service.keys()) {
      if (this.#service.size <= MAX_ROOMS) break;
      this.#service.delete(oldest);
    }
    const own = { ...deps, send, requeue: (doc: JobDoc) => this.enqueue(room, [doc]) };
    const made = new RoomDispatch(room, { ...own, acceptTimeoutMs }, service);
    this.#rooms.set(room, made);
    return made;
  }
}

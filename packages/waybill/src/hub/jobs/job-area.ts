// Routes of jobs, and the parts behind them put together: documents and logs in the bucket, the dispatcher, the sweep
// and the commands (docs/protocol/events.md).
import { type ArtifactId, type ArtifactRecord, LIMITS, type RoomId } from "@waybill/sdk/protocol";
import type { Bucket } from "../bucket/bucket.ts";
import type { Documents } from "../bucket/documents.ts";
import type { Handlers } from "../http/handler.ts";
import type { Clock, Log } from "../log.ts";
import { resultOfJob } from "@waybill/sdk/registry";
import { readRegistry } from "../registry/room-registry.ts";
import type { Signaling } from "../signaling/index.ts";
import { BackgroundTasks } from "./background-tasks.ts";
import { type CheckpointFiles, type CheckpointLeftover, Checkpoints } from "./checkpoints.ts";
import { CommandRelay } from "./commands.ts";
import { Dispatcher } from "./dispatcher.ts";
import { EventLog } from "./event-log.ts";
import { type JobHandlerDeps, jobHandlers } from "./job-handlers.ts";
import { JobStore } from "./job-store.ts";
import { type JobUses, jobUses } from "./job-uses.ts";
import { LiveJobs } from "./live-jobs.ts";
import { AWAY_MS } from "./silent-worker.ts";
import { WorkerModes } from "./worker-modes.ts";
import { workerHandlers } from "./worker-handlers.ts";

/** What jobs need of signaling. */
export type JobSignaling = Pick<Signaling, "listen" | "send" | "broadcast" | "peers" | "rooms">;

export type JobAreaDeps = {
  readonly rooms: Bucket;
  readonly documents: Documents;
  readonly signaling: JobSignaling;
  readonly artifactRecord: (
    room: RoomId,
    artifact: ArtifactId,
  ) => Promise<ArtifactRecord | undefined>;
  readonly checkpoints: CheckpointFiles;
  /** A URL that reads one object of the rooms bucket. */
  readonly presignGet: (key: string) => Promise<{ url: string; expiresAt: string }>;
  readonly clock: Clock;
  readonly log: Log;
  readonly acceptTimeoutMs?: number;
  readonly ackTimeoutMs?: number;
  readonly sweepMs?: number;
  /** A worker that has not renewed for this long loses its job. Default 60 s. */
  readonly leaseMs?: number;
  /** How long a silent worker keeps a job that nobody else would do. Default 24 h. */
  readonly awayMs?: number;
};

export type JobRoute =
  | "submitJob"
  | "checkJob"
  | "listJobs"
  | "showJob"
  | "commandJob"
  | "readEvents"
  | "appendEvents"
  | "renewLease"
  | "endJob"
  | "recordCheckpoint"
  | "putSample"
  | "readSample"
  | "listWorkers"
  | "setWorkerMode";

export type JobArea = {
  readonly handlers: Handlers<JobRoute>;
  readonly dispatcher: Dispatcher;
  /** Begins to listen to workers and to sweep. */
  start(): void;
  /** Stops and waits for what is under way. Idempotent. */
  stop(): Promise<void>;
  /** One sweep: expired leases, orphaned markers, jobs that wait. `start` does it every few seconds. */
  sweep(nowMs: number): Promise<void>;
  /** Removes checkpoints of a room's jobs that nobody needs any more. */
  sweepCheckpoints(room: RoomId): Promise<void>;
  /** Checkpoints of jobs that are over. */
  leftoverCheckpoints(room: RoomId): Promise<CheckpointLeftover[]>;
  /** What jobs need that have not ended. */
  uses(room: RoomId): Promise<JobUses>;
};

/** A lost worker is noticed this long after its lease at most; sooner where leases are short. */
const SWEEP_MS = 10_000;

/** Puts the area together; nothing happens before `start`. */
export function createJobArea(deps: JobAreaDeps): JobArea {
  const { rooms, documents, signaling, clock, log, leaseMs = LIMITS.leaseMs } = deps;
  const tasks = new BackgroundTasks(log);
  const events = new EventLog(rooms);
  const stopping = new AbortController();
  const checkpoints = new Checkpoints({
    files: deps.checkpoints,
    store: () => store,
    tasks,
    clock,
  });
  const store: JobStore = new JobStore({
    rooms,
    documents,
    events,
    tasks,
    clock,
    log,
    completed: (doc) => checkpoints.completed(doc),
    broadcast: (room, message) => signaling.broadcast(room, message),
    stopping: stopping.signal,
    leaseMs,
  });
  const modes = new WorkerModes(documents, clock);
  const dispatcher: Dispatcher = new Dispatcher({
    store,
    tasks,
    clock,
    log,
    signaling,
    stopping: stopping.signal,
    requestReview: (room) => live.requestReview(room),
    modes: (room) => modes.of(room),
    remind: (doc) => commands.remind(doc),
    ...(deps.acceptTimeoutMs === undefined ? {} : { acceptTimeoutMs: deps.acceptTimeoutMs }),
  });
  const activeRooms = () => signaling.rooms();
  const live = new LiveJobs({
    rooms,
    store,
    modelOf: async (room, job) => resultOfJob(await readRegistry(documents, room), job)?.id,
    events,
    dispatcher,
    tasks,
    clock,
    log,
    leaseMs,
    awayMs: deps.awayMs ?? AWAY_MS,
    activeRooms,
  });
  const commands = new CommandRelay({
    signaling,
    clock,
    ...(deps.ackTimeoutMs === undefined ? {} : { ackTimeoutMs: deps.ackTimeoutMs }),
  });
  const handlerDeps: JobHandlerDeps = {
    ...deps,
    checkpointsOf: checkpoints,
    modes,
    store,
    events,
    dispatcher,
    live,
    commands,
  };
  let timer: NodeJS.Timeout | undefined;
  let sweeping: Promise<void> | undefined;
  const sweep = (nowMs: number) =>
    (sweeping ??= live.sweep(nowMs).finally(() => {
      sweeping = undefined;
    }));
  return {
    handlers: { ...jobHandlers(handlerDeps), ...workerHandlers(handlerDeps) },
    dispatcher,
    start() {
      dispatcher.start();
      commands.start();
      timer ??= setInterval(
        () => tasks.run("sweep live jobs", () => sweep(clock())),
        deps.sweepMs ?? Math.min(SWEEP_MS, leaseMs / 6),
      );
    },
    async stop() {
      clearInterval(timer);
      stopping.abort();
      dispatcher.stop();
      commands.stop();
      await tasks.idle();
    },
    sweep,
    sweepCheckpoints: (room) => checkpoints.sweep(room),
    leftoverCheckpoints: (room) => checkpoints.leftovers(room),
    uses: (room) => jobUses(store, room),
  };
}

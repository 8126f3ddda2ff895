// The worker daemon: registers with the hub, takes jobs it has a slot for, runs them, and answers viewers.
// A daemon that was killed finds its jobs again in the data directory.
import {
  type HubToPeer,
  type JobAssignment,
  type JobCommand,
  type JobId,
  type PeerId,
  type RoomId,
  type WorkerCapabilities,
  type WorkerKind,
  messageOf,
  unmetRequirement,
} from "@waybill/sdk/protocol";
import { statfs } from "node:fs/promises";
import { delay } from "@waybill/sdk/timing";
import { ArtifactCache } from "./cache/artifact-cache.ts";
import { detectCapabilities } from "./capabilities/capabilities.ts";
import { type DataDir, openDataDir, removeTree } from "./data-dir/data-dir.ts";
import { createGpuReader } from "./events/gpus.ts";
import { failUnbegun } from "./jobs/end-job.ts";
import { JobRun } from "./jobs/job-run.ts";
import { readRunRecord } from "./jobs/run-journal.ts";
import { type RunContext, newRecord } from "./jobs/run-parts.ts";
import { listSpools, openSpool } from "./jobs/spool.ts";
import type {
  CommandAck,
  FeedPort,
  HubCalls,
  Log,
  SessionPort,
  TransferPort,
  WorkerHello,
} from "./ports.ts";
import { WORKER_TIMING, type WorkerTiming } from "./timing.ts";
import { TokenRenewal } from "./token-renewal.ts";
import type { WorkerEventListener } from "./worker-events.ts";

export type { WorkerEvent } from "./worker-events.ts";

export type WorkerInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  /** Shown to the others in the room. */
  readonly name: string;
  readonly kind: WorkerKind;
  readonly dataDir: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Programs jobs may name, with their arguments. */
  readonly trainers?: Readonly<Record<string, readonly string[]>>;
  /** Whether jobs may bring a command, code and environment of their own. Default: yes. */
  readonly commands?: boolean;
  /** Jobs at once. Default 1. */
  readonly slots?: number;
  readonly version: string;
  /** Names of variables handed to trainers although they look like secrets. */
  readonly passEnv?: readonly string[];
  /** Size of the artifact cache. Default: half of its file system. */
  readonly cacheBytes?: number;
  /** Makes the signaling session; `hello` is asked at every connect. */
  readonly createSession: (init: {
    readonly instance: string;
    readonly hello: () => WorkerHello;
  }) => SessionPort;
  /** Makes the links to viewers on that session. */
  readonly createFeed: (session: SessionPort) => FeedPort | Promise<FeedPort>;
  readonly transfer: TransferPort;
  /** Lower-case hex BLAKE3-256. */
  readonly digest: (bytes: Uint8Array) => string;
  /** The token in use, and who takes a fresh one. */
  readonly token?: {
    readonly current: () => string | undefined;
    readonly renewed: (token: string) => void | Promise<void>;
  };
  readonly onEvent: WorkerEventListener;
  readonly timing?: Partial<WorkerTiming>;
  readonly now?: () => number;
};

export type Worker = AsyncDisposable & {
  /** Opens the data directory, takes up jobs left there and connects; throws `conflict` while another daemon has it. */
  start(): Promise<void>;
  /** Ends running jobs as `interrupted`, stores what is left of them and disconnects. Idempotent. */
  stop(): Promise<void>;
};

/**
 * Makes a worker; nothing happens before `start()`.
 *
 * @example
 * const worker = createWorker({ hub, room, name: "lab-3", kind: "desktop", dataDir, version, onEvent: console.log,
 *   ...connectWorker({ hub, room, name: "lab-3" }) });
 * await worker.start();
 */
export function createWorker(init: WorkerInit): Worker {
  return new Daemon(init);
}

class Daemon implements Worker {
  readonly #init: WorkerInit;
  readonly #timing: WorkerTiming;
  readonly #now: () => number;
  readonly #log: Log;
  readonly #runs = new Map<JobId, JobRun>();
  /** Attempts that are accepted while their spool is being opened. */
  readonly #accepting = new Map<JobId, number>();
  readonly #closing = new Set<Promise<void>>();
  readonly #lingering = new AbortController();
  #dir: DataDir | undefined;
  #session: SessionPort | undefined;
  #feed: FeedPort | undefined;
  #context: RunContext | undefined;
  #capabilities: WorkerCapabilities | undefined;
  #renewal: TokenRenewal | undefined;
  #workerId: PeerId | undefined;
  #stopping: Promise<void> | undefined;

  constructor(init: WorkerInit) {
    this.#init = init;
    this.#timing = { ...WORKER_TIMING, ...init.timing };
    this.#now = init.now ?? Date.now;
    this.#log = (level, message) => init.onEvent({ type: "log", level, message });
  }

  async start(): Promise<void> {
    const { kind, room, hub } = this.#init;
    const dir = await openDataDir(this.#init.dataDir, kind);
    this.#dir = dir;
    const gpus = createGpuReader();
    const capabilities = await detectCapabilities({
      kind,
      trainers: Object.keys(this.#init.trainers ?? {}),
      commands: this.#init.commands ?? true,
      labels: this.#init.labels ?? {},
      slots: this.#init.slots ?? 1,
      version: this.#init.version,
      gpus,
    });
    this.#capabilities = capabilities;
    const session = this.#init.createSession({
      instance: dir.instance,
      hello: () => ({ capabilities, jobs: this.#heldJobs() }),
    });
    this.#session = session;
    const feed = await this.#init.createFeed(session);
    this.#feed = feed;
    feed.onCommand((command, from, ack) => this.#command(command, from.name, ack));
    this.#context = {
      hub,
      feed,
      gpus,
      capabilities,
      transfer: this.#init.transfer,
      cache: new ArtifactCache({
        cacheDir: dir.cacheDir,
        maxBytes: this.#init.cacheBytes ?? (await halfOfDisk(dir.cacheDir)),
        log: this.#log,
      }),
      trainers: this.#init.trainers ?? {},
      passEnv: this.#init.passEnv ?? [],
      timing: this.#timing,
      digest: this.#init.digest,
      now: this.#now,
      log: this.#log,
      workerId: () => this.#workerId,
    };
    await this.#takeUp(dir, this.#context);
    session.start({
      onMessage: (message) => this.#message(message),
      onOffline: (reason) => this.#init.onEvent({ type: "offline", reason }),
      onRefused: (error) => this.#init.onEvent({ type: "refused", error }),
    });
    const { token } = this.#init;
    if (token !== undefined) {
      this.#renewal = new TokenRenewal({
        hub,
        room,
        token: token.current,
        onToken: token.renewed,
        now: this.#now,
        log: this.#log,
      });
      this.#renewal.start();
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<void> {
    const runs = [...this.#runs.values()];
    for (const run of runs) run.shutdown();
    const late = new AbortController();
    const limitMs = this.#timing.shutdownGraceMs + this.#timing.shutdownMs;
    await Promise.race([
      Promise.all(runs.map((run) => run.ended)),
      delay(limitMs, late.signal).catch(() => undefined),
    ]);
    late.abort();
    await Promise.all([...this.#runs.values()].map((run) => run.leave()));
    this.#lingering.abort();
    while (this.#closing.size > 0) await Promise.all(this.#closing);
    await this.#renewal?.stop();
    await this.#feed?.stop();
    await this.#session?.stop();
    await this.#dir?.close();
  }

  #heldJobs(): WorkerHello["jobs"] {
    const opening = [...this.#accepting].map(([job, attempt]) => ({ job, attempt }));
    const running = [...this.#runs.values()].map(({ assignment: { job, attempt } }) => ({
      job,
      attempt,
    }));
    return [...running, ...opening.filter(({ job }) => !this.#runs.has(job))];
  }

  /** Goes on with the jobs a former daemon left. */
  async #takeUp(dir: DataDir, context: RunContext): Promise<void> {
    for (const paths of await listSpools(dir.spoolDir)) {
      const record = await readRunRecord(paths.journal);
      if (record === undefined || record.assignment.room !== this.#init.room) {
        if (record === undefined) await removeTree(paths.dir);
        else this.#log("warn", `${paths.dir} holds a job of room ${record.assignment.room}`);
        continue;
      }
      if (this.#runs.has(record.assignment.job)) {
        this.#log("warn", `${paths.dir} holds another attempt of a job that has been taken up`);
        continue;
      }
      try {
        const run = await JobRun.open(context, paths, record);
        const { job, attempt } = run.assignment;
        this.#init.onEvent({ type: "job.resumed", job, attempt });
        await this.#begin(run);
      } catch (error) {
        this.#log("error", `cannot take up the job in ${paths.dir}: ${messageOf(error)}`);
      }
    }
  }

  #message(message: HubToPeer): void {
    switch (message.type) {
      case "welcome": {
        const first = this.#workerId === undefined;
        this.#workerId = message.peerId;
        const { kind } = this.#init;
        if (first) this.#init.onEvent({ type: "ready", workerId: message.peerId, kind });
        else this.#init.onEvent({ type: "online", workerId: message.peerId });
        return;
      }
      case "job.offer":
        this.#offered(message.assignment);
        return;
      case "job.revoke": {
        const run = this.#runs.get(message.job);
        if (run?.assignment.attempt === message.attempt) run.revoke(message.reason);
        return;
      }
      case "job.command": {
        const { id } = message.command;
        this.#command(message.command, message.by, (ack) => this.#answer(id, ack));
        return;
      }
      default:
        // Presence, negotiation and relayed messages are the links' business.
        return;
    }
  }

  #answer(id: string, { stage, message }: CommandAck): void {
    // `applied` goes to viewers and into the log; the hub has its answer by then.
    if (stage === "applied") return;
    const text = message === undefined ? {} : { message };
    this.#session?.send({ type: "command.ack", id, stage, ...text });
  }

  #command(command: JobCommand, by: string, ack: (ack: CommandAck) => void): void {
    const run = this.#runs.get(command.job);
    if (run === undefined) {
      ack({ stage: "rejected", message: `job ${command.job} does not run on this worker` });
    } else run.command(command, by, ack);
  }

  #offered(assignment: JobAssignment): void {
    const { job, attempt } = assignment;
    const held = this.#runs.get(job);
    if (held?.assignment.attempt === attempt) {
      this.#session?.send({ type: "job.accept", job, attempt });
      return;
    }
    const reason = this.#whyNot(assignment, held);
    if (reason !== undefined) {
      this.#session?.send({ type: "job.decline", job, attempt, reason });
      return;
    }
    // A socket that has closed cannot accept: the hub has given the attempt to somebody else.
    if (this.#session?.send({ type: "job.accept", job, attempt }) !== true) return;
    this.#work(this.#accept(assignment));
  }

  #whyNot(assignment: JobAssignment, held: JobRun | undefined): string | undefined {
    const capabilities = this.#capabilities;
    if (this.#stopping !== undefined || capabilities === undefined) return "is shutting down";
    if (held !== undefined) {
      held.revoke(`attempt ${assignment.attempt} has begun`);
      return `is still ending attempt ${held.assignment.attempt} of this job`;
    }
    if (this.#runs.size + this.#accepting.size >= capabilities.slots) return "has no free slot";
    const workerId = this.#workerId;
    if (workerId === undefined) return "is not ready";
    return unmetRequirement({ workerId, capabilities }, assignment.spec);
  }

  async #accept(assignment: JobAssignment): Promise<void> {
    const { job, attempt, submittedBy } = assignment;
    const context = this.#context;
    const dir = this.#dir;
    if (context === undefined || dir === undefined || this.#accepting.has(job)) return;
    this.#accepting.set(job, attempt);
    try {
      const paths = await openSpool(dir.spoolDir, job, attempt);
      const run = await JobRun.open(context, paths, newRecord(assignment));
      this.#init.onEvent({ type: "job.accepted", job, attempt, submittedBy });
      await this.#begin(run);
      if (this.#stopping !== undefined) run.shutdown();
    } catch (error) {
      this.#log("error", `${job}: cannot begin: ${messageOf(error)}`);
      if (!this.#runs.has(job)) await failUnbegun(context, assignment, error);
    } finally {
      this.#accepting.delete(job);
    }
  }

  async #begin(run: JobRun): Promise<void> {
    this.#runs.set(run.assignment.job, run);
    this.#work(this.#follow(run));
    await run.start();
  }

  /** Frees the slot when a job has ended, and its disk a little later. */
  async #follow(run: JobRun): Promise<void> {
    const { job, attempt } = run.assignment;
    const outcome = await run.ended;
    this.#runs.delete(job);
    this.#session?.send({ type: "job.released", job, attempt });
    this.#init.onEvent({ type: "job.ended", job, attempt, outcome });
    if (outcome === "left") return;
    if (outcome !== "dropped") {
      await delay(this.#timing.lingerMs, this.#lingering.signal).catch(() => undefined);
    }
    await run.cleanUp(outcome);
  }

  #work(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#log("error", messageOf(error)))
      .finally(() => this.#closing.delete(tracked));
    this.#closing.add(tracked);
  }
}

async function halfOfDisk(dir: string): Promise<number> {
  const { blocks, bsize } = await statfs(dir);
  return Math.floor((blocks * bsize) / 2);
}

// The jobs this worker holds: which offers it takes, where commands go, what a former daemon left, and when a slot
// is free again.
import {
  type JobAssignment,
  type JobCommand,
  type JobId,
  type RoomId,
  messageOf,
  unmetRequirement,
} from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import { removeTree } from "../data-dir/data-dir.ts";
import type { CommandAck, SessionPort, WorkerHello } from "../ports.ts";
import type { WorkerEventListener } from "../worker-events.ts";
import { failUnbegun } from "./end-job.ts";
import { JobRun } from "./job-run.ts";
import { type RunRecord, readRunRecord } from "./run-journal.ts";
import { type RunContext, newRecord } from "./run-parts.ts";
import { killLeft } from "./run-recovery.ts";
import { type SpoolPaths, listSpools, openSpool } from "./spool.ts";

export type JobBoardInit = {
  readonly context: RunContext;
  readonly room: RoomId;
  readonly spoolDir: string;
  readonly send: SessionPort["send"];
  readonly onEvent: WorkerEventListener;
};

export class JobBoard {
  readonly #init: JobBoardInit;
  readonly #runs = new Map<JobId, JobRun>();
  /** Attempts that are accepted while their spool is being opened. */
  readonly #accepting = new Map<JobId, number>();
  readonly #work = new Set<Promise<void>>();
  readonly #lingering = new AbortController();
  #stopping = false;

  constructor(init: JobBoardInit) {
    this.#init = init;
  }

  /** Every attempt held, as a hello lists them. */
  get held(): WorkerHello["jobs"] {
    const opening = [...this.#accepting].map(([job, attempt]) => ({ job, attempt }));
    const running = [...this.#runs.values()].map(({ assignment: { job, attempt } }) => ({
      job,
      attempt,
    }));
    return [...running, ...opening.filter(({ job }) => !this.#runs.has(job))];
  }

  /** Goes on with the jobs a former daemon left in its spool. */
  async takeUp(): Promise<void> {
    const { context, room, spoolDir, onEvent } = this.#init;
    for (const { paths, record } of newestFirst(await readSpools(spoolDir))) {
      const { assignment } = record;
      if (assignment.room !== room) {
        context.log("warn", `${paths.dir} is left alone: it is of room ${assignment.room}`);
        continue;
      }
      try {
        if (this.#runs.has(assignment.job)) {
          // The hub has given the job away since (I11).
          context.log("warn", `${assignment.job}: attempt ${assignment.attempt} is over`);
          await killLeft(record, paths);
          await removeTree(paths.dir);
          continue;
        }
        const run = await JobRun.open(context, paths, record);
        onEvent({ type: "job.resumed", job: assignment.job, attempt: assignment.attempt });
        await this.#begin(run);
      } catch (error) {
        context.log("error", `cannot take up the job in ${paths.dir}: ${messageOf(error)}`);
      }
    }
  }

  /** Answers an offer and begins what it accepts. */
  offered(assignment: JobAssignment): void {
    const { send } = this.#init;
    const { job, attempt } = assignment;
    const held = this.#runs.get(job);
    if (held?.assignment.attempt === attempt || this.#accepting.get(job) === attempt) {
      send({ type: "job.accept", job, attempt });
      return;
    }
    const reason = this.#whyNot(assignment, held);
    if (reason !== undefined) {
      send({ type: "job.decline", job, attempt, reason });
      return;
    }
    // A socket that has closed cannot accept: the hub gives the attempt to somebody else.
    if (send({ type: "job.accept", job, attempt })) this.#track(this.#accept(assignment));
  }

  revoked(job: JobId, attempt: number, reason: string): void {
    const run = this.#runs.get(job);
    if (run?.assignment.attempt === attempt) run.revoke(reason);
    // Dropped between a hello that named it and the welcome: the hub still counts its slot.
    else if (this.#accepting.get(job) !== attempt) {
      this.#init.send({ type: "job.released", job, attempt });
    }
  }

  /** Passes a command to its job; `ack` hears of each stage. */
  command(command: JobCommand, by: string, ack: (ack: CommandAck) => void): void {
    const run = this.#runs.get(command.job);
    if (run === undefined) {
      ack({ stage: "rejected", message: `job ${command.job} does not run on this worker` });
    } else run.command(command, by, ack);
  }

  /** Ends every job as interrupted; what is not through after `limitMs` is left for the next daemon. */
  async stop(limitMs: number): Promise<void> {
    this.#stopping = true;
    for (const run of this.#runs.values()) run.shutdown();
    const late = new AbortController();
    await Promise.race([
      Promise.all([...this.#runs.values()].map((run) => run.ended)),
      delay(limitMs, late.signal).catch(() => undefined),
    ]);
    late.abort();
    await Promise.all([...this.#runs.values()].map((run) => run.leave()));
    this.#lingering.abort();
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  #whyNot(assignment: JobAssignment, held: JobRun | undefined): string | undefined {
    const { capabilities, workerId } = this.#init.context;
    if (this.#stopping) return "is shutting down";
    if (held !== undefined) {
      held.revoke(`attempt ${assignment.attempt} has begun`);
      return `is still ending attempt ${held.assignment.attempt} of this job`;
    }
    if (this.held.length >= capabilities.slots) return "has no free slot";
    const id = workerId();
    if (id === undefined) return "is not ready";
    return unmetRequirement({ workerId: id, capabilities }, assignment.spec);
  }

  async #accept(assignment: JobAssignment): Promise<void> {
    const { context, spoolDir, onEvent } = this.#init;
    const { job, attempt, submittedBy } = assignment;
    this.#accepting.set(job, attempt);
    try {
      const paths = await openSpool(spoolDir, job, attempt);
      const run = await JobRun.open(context, paths, newRecord(assignment));
      onEvent({ type: "job.accepted", job, attempt, submittedBy });
      await this.#begin(run);
      if (this.#stopping) run.shutdown();
    } catch (error) {
      context.log("error", `${job}: cannot begin: ${messageOf(error)}`);
      if (!this.#runs.has(job)) await failUnbegun(context, assignment, error);
    } finally {
      this.#accepting.delete(job);
    }
  }

  async #begin(run: JobRun): Promise<void> {
    this.#runs.set(run.assignment.job, run);
    this.#track(this.#follow(run));
    await run.start();
  }

  /** Frees the slot when a job has ended, and its disk a little later: viewers may still be reading. */
  async #follow(run: JobRun): Promise<void> {
    const { context, send, onEvent } = this.#init;
    const { job, attempt } = run.assignment;
    const outcome = await run.ended;
    this.#runs.delete(job);
    send({ type: "job.released", job, attempt });
    onEvent({ type: "job.ended", job, attempt, outcome });
    if (outcome === "left") return;
    if (outcome !== "dropped") {
      await delay(context.timing.lingerMs, this.#lingering.signal).catch(() => undefined);
    }
    await run.cleanUp();
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#init.context.log("error", messageOf(error)))
      .finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }
}

type LeftSpool = { readonly paths: SpoolPaths; readonly record: RunRecord };

/** What a former daemon left; a spool that it had only just begun is removed. */
async function readSpools(spoolDir: string): Promise<LeftSpool[]> {
  const found: LeftSpool[] = [];
  for (const paths of await listSpools(spoolDir)) {
    const record = await readRunRecord(paths.journal);
    if (record === undefined) await removeTree(paths.dir);
    else found.push({ paths, record });
  }
  return found;
}

/** Of two attempts of a job the later one is the job's. */
function newestFirst(spools: readonly LeftSpool[]): LeftSpool[] {
  return spools.toSorted((a, b) => b.record.assignment.attempt - a.record.assignment.attempt);
}

// One attempt from assignment to outcome: performs what the machine in run-state.ts decides, and reports back
// what came of it.
import {
  type JobAssignment,
  type JobCommand,
  WaybillError,
  assertNever,
  isAbort,
  messageOf,
} from "@waybill/sdk/protocol";
import { removeTree } from "../data-dir/data-dir.ts";
import { isStale } from "../errors.ts";
import type { CommandAck } from "../ports.ts";
import { CommandDesk } from "./command-desk.ts";
import { endJob } from "./end-job.ts";
import type { LeaseState } from "./lease.ts";
import { type Prepared, prepare } from "./prepare.ts";
import { publishOutput } from "./publish-output.ts";
import { tellResult } from "./tell-result.ts";
import type { LoggedSteps } from "./logged-steps.ts";
import type { RunRecord } from "./run-journal.ts";
import { type RunContext, type RunParts, openParts, stopParts } from "./run-parts.ts";
import { recover } from "./run-recovery.ts";
import { next } from "./run-state.ts";
import { RunTrainer } from "./run-trainer.ts";
import {
  type End,
  INITIAL,
  type Outcome,
  type RunEffect,
  type RunEvent,
  type RunState,
} from "./run-types.ts";
import type { SpoolPaths } from "./spool.ts";
import { MAX_REASON } from "./training.ts";

/** `dropped`: the attempt was taken away. `left`: the daemon stopped first; a restarted one goes on. */
export type RunOutcome = Outcome | "dropped" | "left";

export class JobRun {
  readonly assignment: JobAssignment;
  /** The outcome is stored, or given up: the slot is free. */
  readonly ended: Promise<RunOutcome>;
  readonly #context: RunContext;
  readonly #paths: SpoolPaths;
  readonly #parts: RunParts;
  readonly #commands: CommandDesk;
  readonly #hard: AbortController;
  readonly #trainer: RunTrainer;
  readonly #work = new Set<Promise<void>>();
  readonly #settle: (outcome: RunOutcome) => void;
  #prepareAbort = new AbortController();
  #publishAbort = new AbortController();
  #state: RunState = INITIAL;
  #queue: RunEvent[] = [];
  #dispatching = false;
  #leaving = false;
  #prepared: Prepared | undefined;
  readonly #held: (() => void)[] = [];
  #logged: Pick<LoggedSteps, "told" | "thumbnails" | "predicted"> = {
    told: new Set(),
    thumbnails: new Set(),
    predicted: 0,
  };

  private constructor(
    context: RunContext,
    paths: SpoolPaths,
    record: RunRecord,
    open: { readonly parts: RunParts; readonly hard: AbortController },
  ) {
    this.assignment = record.assignment;
    this.#context = context;
    this.#paths = paths;
    this.#parts = open.parts;
    this.#hard = open.hard;
    this.#commands = new CommandDesk(open.parts);
    const { promise, resolve } = Promise.withResolvers<RunOutcome>();
    this.ended = promise;
    this.#settle = resolve;
    this.#trainer = new RunTrainer({
      assignment: record.assignment,
      context,
      paths,
      parts: open.parts,
      state: () => this.#state,
      dispatch: (event) => this.dispatch(event),
      signal: open.hard.signal,
    });
  }

  /** Opens an attempt's spool and log; `start` sets it going. */
  static async open(context: RunContext, paths: SpoolPaths, record: RunRecord): Promise<JobRun> {
    const hard = new AbortController();
    // The parts tell the run what happens to them, and the run is made of the parts.
    let run: JobRun | undefined;
    const parts = await openParts({
      context,
      paths,
      record,
      signal: hard.signal,
      leaseState: () => run?.leaseState ?? "assigned",
      onStale: (reason) => run?.revoke(reason),
      onDiskLow: () => run?.dispatch({ type: "disk.low" }),
    });
    run = new JobRun(context, paths, record, { parts, hard });
    await parts.journal.save();
    return run;
  }

  /** The job's state as a lease renewal reports it. */
  get leaseState(): LeaseState {
    switch (this.#state.phase) {
      case "preparing":
        return this.#state.paused ? "paused" : "assigned";
      case "training":
        return this.#state.paused ? "paused" : "running";
      case "publishing":
        return "running";
      case "finishing":
        // A long log may still have to be stored; nobody has asked for anything to be stopped.
        return this.#state.end.outcome === "completed" ? "running" : "stopping";
      default:
        return "stopping";
    }
  }

  /** Begins, or goes on where a former daemon's journal ends. */
  async start(): Promise<void> {
    const parts = this.#parts;
    const recovery = await recover(parts.journal.record, parts.events, this.#paths);
    this.#state = recovery.state;
    this.#logged = recovery.logged;
    this.#commands.restore(recovery.logged.commands);
    this.#context.feed.add(this.assignment.job, parts.events);
    parts.flusher.start();
    parts.lease.start();
    const { phase } = recovery.state;
    if (phase === "preparing" || recovery.trainer?.type === "running") {
      parts.metrics.start();
      parts.disk.start();
    }
    if (phase === "preparing") this.#track(this.#prepare());
    if (recovery.trainer?.type === "running") this.#hold();
    if (recovery.trainer !== undefined) {
      // Now, not in its turn: the hub may count the worker as lost already.
      parts.lease.renewNow();
      parts.publisher.reserveEarly(this.#hard.signal);
      this.#track(this.#trainer.takeOver(recovery.trainer, recovery.logged));
    }
    for (const effect of recovery.effects) this.#perform(effect);
  }

  /** A trainer that runs under this daemon's predecessor reads what that had opened. */
  #hold(): void {
    const { spec, resume } = this.assignment;
    for (const artifact of [spec.dataset, spec.code, resume?.artifact]) {
      if (artifact !== undefined) this.#held.push(this.#context.cache.keep(artifact));
    }
  }

  /** Takes a command, once by its id; `reply` hears each stage. */
  command(command: JobCommand, by: string, reply: (ack: CommandAck) => void): void {
    if (!this.#commands.take(command.id, by, reply)) return;
    const { id, name, values } = command;
    const deaf = this.assignment.spec.stdin === "empty";
    this.dispatch({ type: "command", id, name, values, deaf });
  }

  /** The hub counts this attempt out (I11): the trainer is killed and nothing more is written. */
  revoke(reason: string): void {
    // While the end is being told, the answer to that decides: a renewal that crossed it proves nothing.
    if (this.#state.phase === "finishing" || this.#state.phase === "done") return;
    this.#context.log("warn", `${this.assignment.job}: taken from this worker: ${reason}`);
    this.#parts.events.abandon();
    this.dispatch({ type: "revoked" });
  }

  /** The daemon is going away: end the trainer and tell the hub. */
  shutdown(): void {
    this.dispatch({ type: "shutdown", saves: this.#context.checkpoints });
  }

  /** Stops everything that is still under way and leaves the spool for the next daemon. */
  async leave(): Promise<void> {
    this.#leaving = true;
    this.#hard.abort();
    this.#prepareAbort.abort();
    this.#publishAbort.abort();
    this.#trainer.kill();
    await this.#close();
    this.#settle("left");
  }

  /** Takes the log from live viewers and removes the spool; the room has all of it. */
  async cleanUp(): Promise<void> {
    await this.#close();
    await removeTree(this.#paths.dir);
  }

  dispatch(event: RunEvent): void {
    if (this.#leaving) return;
    this.#queue.push(event);
    if (this.#dispatching) return;
    this.#dispatching = true;
    try {
      for (let one = this.#queue.shift(); one !== undefined; one = this.#queue.shift()) {
        const step = next(this.#state, one);
        this.#state = step.state;
        for (const effect of step.effects) this.#perform(effect);
        if (step.state.phase === "done") this.#settle(step.state.outcome);
      }
    } finally {
      this.#dispatching = false;
    }
  }

  #perform(effect: RunEffect): void {
    const parts = this.#parts;
    switch (effect.type) {
      case "abort.prepare":
        this.#prepareAbort.abort();
        return;
      case "launch":
        this.#track(this.#launch());
        return;
      case "pause":
      case "resume":
        this.#track(this.#trainer.turn(effect.type));
        return;
      case "tell":
        this.#track(this.#trainer.tell(effect.command));
        return;
      case "await":
        this.#trainer.await(effect.command);
        return;
      case "save":
        this.#track(this.#trainer.save());
        return;
      case "flush":
        this.#track(this.#trainer.flush());
        return;
      case "terminate":
        this.#track(this.#trainer.terminate(effect.grace));
        return;
      case "publish":
        this.#track(this.#publish(effect.stoppedEarly));
        return;
      case "abort.publish":
        this.#publishAbort.abort();
        return;
      case "announce":
        parts.append({ type: "state", state: effect.state, ...this.#me() });
        parts.lease.renewNow();
        return;
      case "ack":
        this.#track(this.#commands.answer(effect));
        return;
      case "end":
        this.#track(this.#end(effect.end));
        return;
      case "drop":
        this.#context.feed.remove(this.assignment.job);
        return;
      default:
        assertNever(effect);
    }
  }

  #me(): { worker?: NonNullable<ReturnType<RunContext["workerId"]>> } {
    const worker = this.#context.workerId();
    return worker === undefined ? {} : { worker };
  }

  async #prepare(): Promise<void> {
    try {
      this.#prepared = await prepare({
        assignment: this.assignment,
        paths: this.#paths,
        cache: this.#context.cache,
        transfer: this.#context.transfer,
        trainers: this.#context.trainers,
        capabilities: this.#context.capabilities,
        passEnv: this.#context.passEnv,
        append: (event) => this.#parts.append(event),
        now: this.#context.now,
        minFreeBytes: this.#context.minFreeBytes,
        quietMs: this.#context.timing.quietMs,
        signal: this.#prepareAbort.signal,
      });
      this.dispatch({ type: "prepared" });
    } catch (error) {
      if (this.#prepareAbort.signal.aborted) this.dispatch({ type: "prepare.stopped" });
      else this.dispatch({ type: "prepare.failed", reason: reasonOf(error) });
    }
  }

  async #launch(): Promise<void> {
    const prepared = this.#prepared;
    if (prepared === undefined) throw new WaybillError("internal", "launched before prepared");
    // So that the model's name is known, should the hub be away in the end.
    this.#parts.publisher.reserveEarly(this.#hard.signal);
    await this.#trainer.launch(prepared);
  }

  async #publish(stoppedEarly: boolean): Promise<void> {
    const signal = AbortSignal.any([this.#publishAbort.signal, this.#hard.signal]);
    const parts = this.#parts;
    const { output } = this.#paths;
    parts.flusher.postpone();
    try {
      const result = await tellResult({
        ...parts,
        output,
        spec: this.assignment.spec,
        model: parts.publisher.reserved,
        stoppedEarly,
        samplesMs: this.#context.timing.resultSamplesMs,
        logged: this.#logged,
      });
      // The model has the link for itself; nobody will begin from a checkpoint any more.
      await parts.checkpoints?.stop();
      const model = await publishOutput({
        parts,
        output,
        result,
        told: this.#logged.told,
        signal,
        onCommitting: () => this.dispatch({ type: "committing" }),
      });
      this.dispatch({ type: "published", model });
      await parts.publisher.keep();
    } catch (error) {
      if (isStale(error)) this.revoke(messageOf(error));
      if (signal.aborted || isStale(error)) this.dispatch({ type: "publish.aborted" });
      else this.dispatch({ type: "publish.failed", reason: reasonOf(error) });
    }
  }

  async #end(end: End): Promise<void> {
    await this.#trainer.settle();
    this.#release();
    const stored = await endJob({
      context: this.#context,
      parts: this.#parts,
      assignment: this.assignment,
      end,
      signal: this.#hard.signal,
    });
    this.dispatch({ type: stored ? "stored" : "revoked" });
  }

  /** Nobody reads what the cache holds for it any more. */
  #release(): void {
    this.#prepared?.release();
    for (const release of this.#held) release();
  }

  async #close(): Promise<void> {
    this.#context.feed.remove(this.assignment.job);
    this.#release();
    this.#hard.abort();
    await this.#trainer.close();
    await stopParts(this.#parts);
    await Promise.all(this.#work);
    await this.#parts.events.close();
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => {
        if (isAbort(error) || this.#hard.signal.aborted) return;
        this.#context.log("error", `${this.assignment.job}: ${messageOf(error)}`);
      })
      .finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }
}

function reasonOf(error: unknown): string {
  return messageOf(error).slice(0, MAX_REASON);
}

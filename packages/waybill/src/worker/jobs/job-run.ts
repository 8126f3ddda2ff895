// One attempt from assignment to outcome: performs what the machine in run-state.ts decides, and reports back
// what came of it.
import {
  type JobAssignment,
  type JobCommand,
  type JobEvent,
  WaybillError,
  assertNever,
  isAbort,
  messageOf,
} from "@waybill/sdk/protocol";
import { removeTree } from "../data-dir/data-dir.ts";
import { isStale } from "../errors.ts";
import type { CommandAck } from "../ports.ts";
import { CommandLedger } from "./command-ledger.ts";
import { endJob } from "./end-job.ts";
import type { LeaseState } from "./lease.ts";
import { type Prepared, prepare } from "./prepare.ts";
import { publishOutput } from "./publish-output.ts";
import type { NotedExit, RunRecord } from "./run-journal.ts";
import { type RunContext, type RunParts, openParts, stopParts } from "./run-parts.ts";
import { recover } from "./run-recovery.ts";
import { graceOf, next } from "./run-state.ts";
import {
  type End,
  INITIAL,
  type Outcome,
  type RunEffect,
  type RunEvent,
  type RunState,
} from "./run-types.ts";
import type { SpoolPaths } from "./spool.ts";
import { MAX_REASON, Training } from "./training.ts";

/** `dropped`: the attempt was taken away. `left`: the daemon stopped first; a restarted one goes on. */
export type RunOutcome = Outcome | "dropped" | "left";

export class JobRun {
  readonly assignment: JobAssignment;
  /** The outcome is stored, or given up: the slot is free. */
  readonly ended: Promise<RunOutcome>;
  readonly #context: RunContext;
  readonly #paths: SpoolPaths;
  readonly #parts: RunParts;
  readonly #commands = new CommandLedger();
  /** Who sent a command, by its id. */
  readonly #askedBy = new Map<string, string>();
  readonly #hard: AbortController;
  readonly #work = new Set<Promise<void>>();
  readonly #settle: (outcome: RunOutcome) => void;
  #prepareAbort = new AbortController();
  #publishAbort = new AbortController();
  #state: RunState = INITIAL;
  #queue: RunEvent[] = [];
  #dispatching = false;
  #leaving = false;
  #prepared: Prepared | undefined;
  #training: Training | undefined;
  #told: ReadonlySet<JobEvent["type"]> = new Set();

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
    const { promise, resolve } = Promise.withResolvers<RunOutcome>();
    this.ended = promise;
    this.#settle = resolve;
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
      default:
        return "stopping";
    }
  }

  /** Begins, or goes on where a former daemon's journal ends. */
  async start(): Promise<void> {
    const parts = this.#parts;
    const recovery = await recover(parts.journal.record, parts.events);
    this.#state = recovery.state;
    this.#told = recovery.told;
    this.#context.feed.add(this.assignment.job, parts.events);
    parts.flusher.start();
    parts.lease.start();
    if (recovery.effects.length > 0) {
      for (const effect of recovery.effects) this.#perform(effect);
      return;
    }
    if (recovery.exit !== undefined) {
      this.#track(this.#readAgain(recovery.exit));
      return;
    }
    parts.metrics.start();
    parts.disk.start();
    this.#track(this.#prepare());
  }

  /** Takes a command, once by its id; `reply` hears each stage. */
  command(command: JobCommand, by: string, reply: (ack: CommandAck) => void): void {
    if (!this.#commands.take(command.id, reply)) return;
    this.#askedBy.set(command.id, by.slice(0, 128));
    this.dispatch({ type: "command", id: command.id, name: command.name });
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
    this.dispatch({ type: "shutdown" });
  }

  /** Stops everything that is still under way and leaves the spool for the next daemon. */
  async leave(): Promise<void> {
    this.#leaving = true;
    this.#hard.abort();
    this.#prepareAbort.abort();
    this.#publishAbort.abort();
    this.#training?.terminate(0);
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
        this.#track(this.#turn(effect.type));
        return;
      case "terminate": {
        const { stopGraceMs, cancelGraceMs, shutdownGraceMs } = this.#context.timing;
        const graces = { stop: stopGraceMs, cancel: cancelGraceMs, shutdown: shutdownGraceMs };
        this.#training?.terminate(graces[effect.grace], effect.grace === "stop");
        return;
      }
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
        this.#ack(effect);
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

  #ack({ command, stage, message }: Extract<RunEffect, { type: "ack" }>): void {
    const by = this.#askedBy.get(command.id) ?? "unknown";
    this.#parts.append({
      type: "command",
      id: command.id,
      name: command.name,
      stage,
      by,
      ...(message === undefined ? {} : { message }),
    });
    if (stage !== "received") this.#askedBy.delete(command.id);
    this.#commands.settle(command.id, { stage, message });
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
        signal: this.#prepareAbort.signal,
      });
      this.dispatch({ type: "prepared" });
    } catch (error) {
      if (this.#prepareAbort.signal.aborted) this.dispatch({ type: "prepare.stopped" });
      else this.dispatch({ type: "prepare.failed", reason: reasonOf(error) });
    }
  }

  async #launch(): Promise<void> {
    const parts = this.#parts;
    const prepared = this.#prepared;
    if (prepared === undefined) throw new WaybillError("internal", "launched before prepared");
    const training = this.#newTraining();
    try {
      // Before the program exists, so that a crash from here on is known to have left one.
      await parts.journal.update({ stage: "training" });
      const trainer = await training.launch(prepared);
      await parts.journal.update({ trainer: { pid: trainer.pid, startId: trainer.startId } });
      this.#context.log("info", `${this.assignment.job}: trainer runs as process ${trainer.pid}`);
      // An end that was asked for while it started has found nothing to signal.
      if (this.#state.phase === "ending") this.#endNow();
      this.dispatch({ type: "launched" });
      parts.publisher.reserveEarly(this.#hard.signal);
      this.dispatch(await training.ended(trainer, (exit) => this.#noteExit(exit)));
    } catch (error) {
      this.dispatch({ type: "launch.failed", reason: reasonOf(error) });
    }
  }

  /** Not waited for: what is made of the end is noted, too, and waited for there. */
  #noteExit({ code, signal }: NotedExit): void {
    const ending = this.#state.phase === "ending" ? { ending: this.#state.ending } : {};
    const noted = this.#parts.journal.update({ exit: { code, signal, ...ending } });
    this.#track(noted);
  }

  /** The trainer ended under a former daemon, which noted that and no more. */
  async #readAgain(exit: NotedExit): Promise<void> {
    try {
      this.dispatch(await this.#newTraining({ over: true }).readAgain(exit));
    } catch (error) {
      this.dispatch({ type: "launch.failed", reason: reasonOf(error) });
    }
  }

  #newTraining(options: { readonly over?: boolean } = {}): Training {
    const { events: log, results, samples, metrics, append } = this.#parts;
    this.#training = new Training({
      spec: this.assignment.spec,
      log,
      results,
      samples,
      metrics,
      append,
      ...options,
      paths: this.#paths,
      timing: this.#context.timing,
      signal: this.#hard.signal,
    });
    return this.#training;
  }

  #endNow(): void {
    if (this.#state.phase !== "ending") return;
    this.#perform({ type: "terminate", grace: graceOf(this.#state.ending) });
  }

  async #turn(effect: "pause" | "resume"): Promise<void> {
    try {
      await this.#training?.turn(effect);
      this.dispatch({ type: "signalled", effect });
    } catch (error) {
      this.dispatch({ type: "signal.failed", effect, reason: messageOf(error) });
    }
  }

  async #publish(stoppedEarly: boolean): Promise<void> {
    const signal = AbortSignal.any([this.#publishAbort.signal, this.#hard.signal]);
    try {
      const model = await publishOutput({
        parts: this.#parts,
        output: this.#paths.output,
        stoppedEarly,
        told: this.#told,
        signal,
        onCommitting: () => this.dispatch({ type: "committing" }),
      });
      this.dispatch({ type: "published", model });
    } catch (error) {
      if (isStale(error)) this.revoke(messageOf(error));
      if (signal.aborted || isStale(error)) this.dispatch({ type: "publish.aborted" });
      else this.dispatch({ type: "publish.failed", reason: reasonOf(error) });
    }
  }

  async #end(end: End): Promise<void> {
    await this.#training?.settle();
    const stored = await endJob({
      context: this.#context,
      parts: this.#parts,
      assignment: this.assignment,
      end,
      signal: this.#hard.signal,
    });
    this.dispatch({ type: stored ? "stored" : "revoked" });
  }

  async #close(): Promise<void> {
    this.#context.feed.remove(this.assignment.job);
    this.#prepared?.release();
    this.#hard.abort();
    await this.#training?.close();
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

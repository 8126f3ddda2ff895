// The trainer of one attempt, as the job machine wants it: started or taken over, signalled, told, ended. Every fact
// goes back to the machine as an event; what a restarted daemon must know is in the journal first.
import {
  type Adjustment,
  type JobAssignment,
  type TrainerRequest,
  WaybillError,
  assertNever,
  messageOf,
} from "@waybill/sdk/protocol";
import { CheckpointLook } from "../publish/checkpoint-look.ts";
import { killOrphan } from "../trainers/trainer-process.ts";
import type { LoggedSteps } from "./logged-steps.ts";
import {
  CarriedAnswers,
  type CarriedLine,
  carriedLines,
  withConfirmed,
} from "./adjusted-values.ts";
import type { Prepared } from "./prepare.ts";
import type { NotedExit } from "./run-journal.ts";
import type { RunContext, RunParts } from "./run-parts.ts";
import type { LeftTrainer } from "./run-recovery.ts";
import { graceOf } from "./run-state.ts";
import type { Ending, Grace, RunEvent, RunState, Waiting } from "./run-types.ts";
import type { SpoolPaths } from "./spool.ts";
import { MAX_REASON, Training } from "./training.ts";

export type RunTrainerInit = {
  readonly assignment: JobAssignment;
  readonly context: RunContext;
  readonly paths: SpoolPaths;
  readonly parts: RunParts;
  readonly state: () => RunState;
  readonly dispatch: (event: RunEvent) => void;
  readonly signal: AbortSignal;
};

export class RunTrainer {
  readonly #init: RunTrainerInit;
  readonly #timers = new Set<NodeJS.Timeout>();
  #training: Training | undefined;
  /** It has written a checkpoint or taken new values: it may be expected to again. */
  #answers = false;
  readonly #carried = new CarriedAnswers();
  #carrying: Promise<void> | undefined;
  /** When the worker began to go. */
  #leftMs: number | undefined;

  /** For workers that keep no checkpoints. */
  readonly #look: CheckpointLook;

  constructor(init: RunTrainerInit) {
    this.#init = init;
    const { paths, parts } = init;
    this.#look = new CheckpointLook({ roots: [paths.output, paths.work], append: parts.append });
  }

  /** Starts the trainer and follows it to its end. */
  async launch(prepared: Prepared): Promise<void> {
    const { parts, context, assignment, dispatch } = this.#init;
    const training = this.#newTraining();
    this.#carrying = this.#carryOver(training);
    try {
      await training.makeOutputs();
      // Before the program exists, so that a crash from here on is known to have left one.
      await parts.journal.update({ stage: "training" });
      await parts.checkpoints?.start();
      const { pid, startId, exited } = await training.launch(prepared);
      await parts.journal.update({ trainer: { pid, startId } });
      context.log("info", `${assignment.job}: trainer runs in process group ${pid}`);
      // An end that was asked for while it started has found nothing to signal.
      const ending = this.#ending();
      if (ending !== undefined) await this.terminate(graceOf(ending));
      dispatch({ type: "launched" });
      dispatch(await training.ended(exited, (exit) => this.#noteExit(exit)));
    } catch (error) {
      // It may run already: nobody would end it any more.
      await training.kill();
      dispatch({ type: "launch.failed", reason: reasonOf(error) });
    }
  }

  /** Tells the trainer, before anything else, what was adjusted before it began. */
  async #carryOver(training: Training): Promise<void> {
    const { spec, adjusted } = this.#init.assignment;
    if (adjusted === undefined || spec.stdin === "empty") return;
    // All are asked for now: what somebody has asked since comes behind the last of them.
    await Promise.all(carriedLines(adjusted).map((line) => this.#carry(training, line)));
  }

  async #carry(training: Training, line: CarriedLine): Promise<void> {
    const withdraw = this.#carried.expect(line.values);
    try {
      await training.tell(line);
    } catch (error) {
      withdraw();
      // One that could not be started is told of otherwise.
      if (!training.launched) return;
      const what = `the trainer was not told ${JSON.stringify(line.values)}`;
      const text = `${what}, adjusted before: ${messageOf(error)}`;
      this.#init.parts.append({ type: "log", stream: "waybill", line: text });
    }
  }

  /** Goes on with what a former daemon's trainer left. */
  async takeOver(left: LeftTrainer, { told, state }: LoggedSteps): Promise<void> {
    const { dispatch, parts } = this.#init;
    this.#answers = told.has("checkpoint");
    const training = this.#newTraining({ again: true });
    try {
      await parts.checkpoints?.start();
      switch (left.type) {
        case "running":
          await this.#attach(training, left, state !== undefined);
          return;
        case "over":
          this.#noteExit(left.exit);
          dispatch(await training.readAgain(left.exit));
          return;
        case "lost":
          await training.readAgain({ code: null, signal: "SIGKILL" });
          dispatch(left);
          return;
        default:
          assertNever(left);
      }
    } catch (error) {
      if (left.type === "running") await killOrphan(left.pid, left.startId);
      dispatch({ type: "launch.failed", reason: reasonOf(error) });
    }
  }

  async turn(effect: "pause" | "resume"): Promise<void> {
    const { dispatch } = this.#init;
    try {
      await this.#training?.turn(effect);
      dispatch({ type: "signalled", effect });
    } catch (error) {
      dispatch({ type: "signal.failed", effect, reason: messageOf(error) });
    }
  }

  /** Writes a command to the trainer's standard input and waits for the answer as long as it may take. */
  async tell(command: Waiting): Promise<void> {
    try {
      await this.#training?.tell(requestOf(command));
      this.await(command);
    } catch (error) {
      this.#init.dispatch({ type: "tell.failed", id: command.id, reason: messageOf(error) });
    }
  }

  await({ id, name }: Waiting): void {
    const { timing } = this.#init.context;
    const afterMs = name === "adjust" ? timing.adjustMs : timing.checkpointMs;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#init.dispatch({ type: "unanswered", id, afterMs });
    }, afterMs);
    this.#timers.add(timer);
  }

  /** Asks for a checkpoint before the worker goes; `save.over` follows in time, whatever the trainer does. */
  async save(): Promise<void> {
    const { context, assignment, dispatch } = this.#init;
    const { saveMs, saveUnknownMs } = context.timing;
    const waitMs = this.#answers ? saveMs : saveUnknownMs;
    this.#leftMs = performance.now();
    const timer = setTimeout(() => dispatch({ type: "save.over" }), waitMs);
    this.#timers.add(timer);
    try {
      if (assignment.spec.stdin === "empty")
        throw new WaybillError("conflict", "it cannot be told");
      // A frozen trainer would save nothing.
      await this.#training?.turn("resume");
      await this.#training?.tell({ type: "checkpoint", id: "shutdown" });
    } catch {
      dispatch({ type: "save.over" });
    }
  }

  /** Brings the newest checkpoint to the room. */
  async flush(): Promise<void> {
    const { context, parts, signal, dispatch } = this.#init;
    const { leaveFlushMs, leaveMs } = context.timing;
    const state = this.#init.state();
    const isGone = state.phase === "leaving" && state.end !== undefined;
    const late = AbortSignal.timeout(isGone ? this.#leftOf(leaveMs) : leaveFlushMs);
    await parts.checkpoints?.flush(AbortSignal.any([late, signal]));
    dispatch({ type: "flushed" });
  }

  /** SIGTERM, and SIGKILL when the grace is over, which a restarted daemon is told the end of first. */
  async terminate(grace: Grace): Promise<void> {
    const { context, parts } = this.#init;
    const { stopGraceMs, cancelGraceMs, shutdownGraceMs, leaveGraceMs } = context.timing;
    const shutdown = Math.max(leaveGraceMs, this.#leftOf(shutdownGraceMs));
    const graceMs = { stop: stopGraceMs, cancel: cancelGraceMs, shutdown }[grace];
    const why = this.#ending();
    const killAt = context.now() + graceMs;
    // A journal that cannot be written must not keep a trainer alive.
    const note = async (sent: boolean) => {
      if (why !== undefined) await parts.journal.update({ ending: { why, killAt, sent } });
    };
    await note(false).catch(() => undefined);
    // A trainer that was only asked to end is asked again by a daemon that comes back meanwhile.
    const sent = this.#training?.terminate(graceMs, grace === "stop") ?? false;
    await note(sent);
  }

  /** At once: the daemon goes, and nobody is left to watch. */
  kill(): void {
    this.#training?.terminate(0);
  }

  async settle(): Promise<void> {
    await this.#training?.settle();
    await this.#look.settled();
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#carrying;
    await this.#training?.close();
  }

  async #attach(
    training: Training,
    left: Extract<LeftTrainer, { type: "running" }>,
    wasRunning: boolean,
  ): Promise<void> {
    const { context, assignment, dispatch, state } = this.#init;
    const trainer = await training.attach(left);
    context.log("info", `${assignment.job}: trainer still runs in process group ${trainer.pid}`);
    const ending = this.#ending();
    if (ending !== undefined) await this.#goOnEnding(training, ending);
    else {
      if (!wasRunning) dispatch({ type: "launched" });
      const before = state();
      const paused = await trainer.isPaused();
      // What was asked meanwhile says by itself what came of it.
      const asked = before !== state() || !("waiting" in before) || before.waiting.some(isTurn);
      if (!asked && before.phase === "training" && before.paused !== paused) {
        dispatch({ type: "signalled", effect: paused ? "pause" : "resume" });
      }
    }
    dispatch(await training.ended(trainer.exited, (exit) => this.#noteExit(exit)));
  }

  /** With what is left of the grace; a second SIGTERM would hurry a trainer that is saving. */
  async #goOnEnding(training: Training, ending: Ending): Promise<void> {
    const { context, parts } = this.#init;
    const noted = parts.journal.record.ending;
    if (noted?.why === ending && noted.sent) {
      training.killAfter(Math.max(0, noted.killAt - context.now()));
    } else await this.terminate(graceOf(ending));
  }

  /** What is left of a time that began when the worker began to go; all of it when that was not seen. */
  #leftOf(ms: number): number {
    return this.#leftMs === undefined
      ? ms
      : Math.max(0, Math.round(this.#leftMs + ms - performance.now()));
  }

  #ending(): Ending | undefined {
    const state = this.#init.state();
    return state.phase === "ending" ? state.ending : undefined;
  }

  /** Not waited for: what is made of the end is noted, too, and waited for there. */
  #noteExit({ code, signal }: NotedExit): void {
    const { parts, context, assignment } = this.#init;
    const ending = this.#ending();
    const exit = { code, signal, ...(ending === undefined ? {} : { ending }) };
    parts.journal.update({ exit }).catch((error: unknown) => {
      context.log("error", `${assignment.job}: cannot note its end: ${messageOf(error)}`);
    });
  }

  /** The trainer has these values now: the next attempt's is to have them, too. */
  #keepAdjusted(values: Readonly<Record<string, unknown>>): void {
    const { parts, context, assignment } = this.#init;
    const { journal, lease } = parts;
    const adjusted = withConfirmed(journal.record.adjusted, values);
    if (adjusted === journal.record.adjusted) return;
    journal.update({ adjusted }).catch((error: unknown) => {
      context.log("error", `${assignment.job}: cannot note its values: ${messageOf(error)}`);
    });
    lease.renewNow();
  }

  #newTraining(options: { readonly again?: boolean } = {}): Training {
    const { parts, paths, context, signal, dispatch } = this.#init;
    const { events: log, results, samples, metrics, append } = parts;
    this.#training = new Training({
      spec: this.#init.assignment.spec,
      log,
      results,
      samples,
      metrics,
      append,
      ...options,
      paths,
      timing: context.timing,
      signal,
      listener: {
        onAdjusted: (values, id) => {
          this.#answers = true;
          this.#keepAdjusted(values);
          if (!this.#carried.take(values, id)) dispatch({ type: "adjusted", values, id });
        },
        onCheckpoint: (path, data) => {
          this.#answers = true;
          if (path !== undefined && parts.checkpoints === undefined) this.#look.take(path);
          else if (path !== undefined) parts.checkpoints?.take(path, data);
          dispatch({ type: "checkpointed", path: path?.slice(0, MAX_REASON / 2) });
        },
      },
    });
    return this.#training;
  }
}

function isTurn({ name }: Waiting): boolean {
  return name === "pause" || name === "resume";
}

function requestOf({ id, name, values }: Waiting): TrainerRequest {
  if (name === "checkpoint") return { type: "checkpoint", id };
  if (name === "adjust" && values !== undefined)
    return { type: "adjust", id, values: values satisfies Adjustment };
  throw new WaybillError("invalid_request", "adjust what? No values were given");
}

function reasonOf(error: unknown): string {
  return messageOf(error).slice(0, MAX_REASON);
}

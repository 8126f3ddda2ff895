// A job's trainer while it runs: the process group, its output, its samples, what the machine does.
import {
  type JobSpec,
  type NewJobEvent,
  type TrainerRequest,
  WaybillError,
  isAbort,
  messageOf,
} from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import { writeFile } from "node:fs/promises";
import type { EventLog } from "../events/event-log.ts";
import type { SystemMetrics } from "../events/system-metrics.ts";
import { JobProgress } from "../progress/job-progress.ts";
import type { WorkerTiming } from "../timing.ts";
import type { TrainerExit } from "../trainers/launcher.ts";
import { type OutputListener, OutputReader } from "../trainers/output-reader.ts";
import type { Results } from "../trainers/results.ts";
import type { Samples } from "../trainers/samples.ts";
import { tellTrainer } from "../trainers/trainer-input.ts";
import { type TrainerProcess, attachTrainer, startTrainer } from "../trainers/trainer-process.ts";
import type { Prepared } from "./prepare.ts";
import type { NotedExit } from "./run-journal.ts";
import type { RunEvent } from "./run-types.ts";
import type { SpoolPaths } from "./spool.ts";

export type TrainingInit = {
  readonly paths: SpoolPaths;
  readonly log: EventLog;
  readonly results: Results;
  readonly samples: Samples;
  readonly metrics: SystemMetrics;
  readonly timing: WorkerTiming;
  readonly append: (event: NewJobEvent) => void;
  readonly spec: Pick<JobSpec, "progress" | "tensorboard">;
  readonly signal: AbortSignal;
  /** What the trainer answers to those who asked it something. */
  readonly listener: OutputListener;
  /** The trainer is a former daemon's: what the log has of its output is not logged again. */
  readonly again?: boolean;
};

export type TrainingEnd = Extract<RunEvent, { type: "exited" }>;

/** Samples that are still on their way when the trainer has ended are waited for this long. */
const SAMPLES_MS = 10_000;

export class Training {
  readonly #init: TrainingInit;
  readonly #reader: OutputReader;
  readonly #progress: JobProgress;
  #trainer: TrainerProcess | undefined;
  readonly #launched = Promise.withResolvers<TrainerProcess>();
  /** Signals take effect one after the other, in the order they were asked for. */
  #signals: Promise<unknown> = Promise.resolve();
  /** So do lines. */
  #lines: Promise<unknown> = Promise.resolve();
  #over = false;
  #killing: NodeJS.Timeout | undefined;

  constructor(init: TrainingInit) {
    this.#init = init;
    // Whoever waits for it hears of a failure; nobody has to.
    this.#launched.promise.catch(() => undefined);
    this.#progress = new JobProgress({ ...init, pollMs: init.timing.pollMs });
    this.#reader = new OutputReader({
      stdout: init.paths.stdout,
      stderr: init.paths.stderr,
      log: init.log,
      results: init.results,
      pollMs: init.timing.pollMs,
      onSample: (file, data) => init.samples.take(file, data),
      listener: init.listener,
      signal: init.signal,
      again: init.again ?? false,
    });
  }

  /** Makes the files for its output. Once an attempt counts as training they are there, whatever dies then. */
  async makeOutputs(): Promise<void> {
    const { paths, again } = this.#init;
    for (const path of [paths.stdout, paths.stderr]) {
      await writeFile(path, "", { flag: again === true ? "a" : "w", mode: 0o600 });
    }
  }

  get launched(): boolean {
    return this.#trainer !== undefined;
  }

  /** Kills the group at once; resolves when it is gone. */
  async kill(): Promise<void> {
    clearTimeout(this.#killing);
    this.#init.metrics.watchGroup(undefined);
    await this.#trainer?.kill();
  }

  /** Starts the trainer, whose output has its files; throws `trainer_failed` when the program cannot be run. */
  async launch(prepared: Prepared): Promise<TrainerProcess> {
    const { paths, timing, metrics } = this.#init;
    try {
      await this.#reader.start();
      await this.#progress.start("new", prepared.command);
      const trainer = await startTrainer({
        ...this.#progress.told(prepared),
        cwd: prepared.cwd,
        stdout: paths.stdout,
        stderr: paths.stderr,
        status: paths.status,
        input: prepared.deaf ? undefined : paths.stdin,
        verifyMs: timing.verifyMs,
      });
      this.#trainer = trainer;
      this.#launched.resolve(trainer);
      metrics.watchGroup(trainer.pid);
      return trainer;
    } catch (error) {
      this.#launched.reject(error);
      throw error;
    }
  }

  /** Watches a trainer of a former daemon and goes on with its output where the log ends. */
  async attach(left: { readonly pid: number; readonly startId: string }): Promise<TrainerProcess> {
    const { paths, timing, metrics } = this.#init;
    const { verifyMs, pollMs } = timing;
    const trainer = attachTrainer({ ...left, status: paths.status, verifyMs, pollMs });
    this.#trainer = trainer;
    this.#launched.resolve(trainer);
    metrics.watchGroup(trainer.pid);
    await this.#reader.start();
    await this.#progress.start("running");
    return trainer;
  }

  /**
   * Resolves when the trainer has ended and everything it printed is in the log. `onExit` is told first: a log
   * that waits for numbers or disk may take long.
   */
  async ended(
    exited: Promise<TrainerExit>,
    onExit: (exit: TrainerExit) => void,
  ): Promise<TrainingEnd> {
    const exit = await exited;
    clearTimeout(this.#killing);
    this.#over = true;
    onExit(exit);
    this.#init.metrics.watchGroup(undefined);
    return this.#read(exit);
  }

  /** Reads what a former daemon's trainer left, as far as the log lacks it. */
  async readAgain(exit: NotedExit): Promise<TrainingEnd> {
    this.#launched.reject(new WaybillError("conflict", "the trainer has ended"));
    // A machine that lost its power may have forgotten files that were empty.
    await this.makeOutputs();
    await this.#reader.start();
    await this.#progress.start("over");
    return this.#read(exit);
  }

  async #read(exit: NotedExit): Promise<TrainingEnd> {
    try {
      await this.#reader.finish();
      await this.#progress.finish();
    } catch (error) {
      if (isAbort(error)) throw error;
      const line = `reading the trainer's output failed: ${messageOf(error)}`;
      this.#init.append({ type: "log", stream: "waybill", line });
    }
    return {
      type: "exited",
      ok: exit.code === 0,
      ...(exit.code === null ? {} : { exitCode: exit.code }),
      reason: describeExit(exit, this.#reader.lastErrors),
    };
  }

  /** Stops or continues the group; resolves when that is seen to be so. */
  async turn(effect: "pause" | "resume"): Promise<void> {
    const turned = this.#turnAfter(this.#signals, effect);
    this.#signals = turned.catch(() => undefined);
    await turned;
  }

  async #turnAfter(before: Promise<unknown>, effect: "pause" | "resume"): Promise<void> {
    await before;
    const trainer = await this.#launched.promise;
    await (effect === "pause" ? trainer.pause() : trainer.resume());
  }

  /** Writes a line to the trainer's standard input, once there is a trainer. */
  async tell(request: TrainerRequest): Promise<void> {
    const told = this.#tellAfter(this.#lines, request);
    this.#lines = told.catch(() => undefined);
    await told;
  }

  async #tellAfter(before: Promise<unknown>, request: TrainerRequest): Promise<void> {
    await before;
    await this.#launched.promise;
    if (this.#over) throw new WaybillError("conflict", "the trainer has ended");
    await tellTrainer(this.#init.paths.stdin, request);
  }

  /**
   * Ends the group; `ask`: a trainer that can be asked gets `graceMs` to end by itself before the signal. Whether the signal
   * was sent now.
   */
  terminate(graceMs: number, ask = false): boolean {
    clearTimeout(this.#killing);
    const trainer = this.#trainer;
    if (trainer === undefined) return false;
    if (!ask || !this.#progress.requestStop()) {
      trainer.terminate(graceMs);
      return true;
    }
    // A paused one hears it when it runs again.
    trainer.resume().catch(() => undefined);
    this.#killing = setTimeout(() => trainer.terminate(graceMs), graceMs);
    return false;
  }

  killAfter(graceMs: number): void {
    this.#trainer?.killAfter(graceMs);
  }

  /** Resolves when every sample is announced; those that take long are given up. */
  async settle(): Promise<void> {
    const late = new AbortController();
    await Promise.race([
      this.#init.samples.settled(),
      delay(SAMPLES_MS, late.signal).catch(() => undefined),
    ]);
    late.abort();
  }

  /** Ends reading. */
  async close(): Promise<void> {
    clearTimeout(this.#killing);
    await Promise.all([this.#reader.stop(), this.#progress.stop()]);
  }
}

function describeExit(exit: NotedExit, lastErrors: string): string {
  const how =
    exit.code === null ? `was killed by ${String(exit.signal)}` : `exited with code ${exit.code}`;
  const said = lastErrors === "" ? "" : `: ${lastErrors}`;
  return `the trainer ${how}${said}`.slice(0, MAX_REASON);
}

/** What the hub takes as a reason. */
export const MAX_REASON = 1024;

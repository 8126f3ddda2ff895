// Everything a job's spec says about progress beyond lines: an adapter for its trainer, and TensorBoard's files.
import { join } from "node:path";
import {
  type JobSpec,
  type NewJobEvent,
  type ProgressFormat,
  assertNever,
  isAbort,
  messageOf,
} from "@waybill/sdk/protocol";
import type { EventLog } from "../events/event-log.ts";
import type { SpoolPaths } from "../jobs/spool.ts";
import { TensorBoardSink } from "../tensorboard/tensorboard-sink.ts";
import type { Results } from "../trainers/results.ts";
import type {
  AdapterInit,
  ProgressAdapter,
  ToldMetric,
  TrainerHints,
  TrainerPhase,
} from "./progress-adapter.ts";

export type JobProgressInit = {
  readonly spec: Pick<JobSpec, "progress" | "tensorboard">;
  readonly paths: SpoolPaths;
  readonly log: EventLog;
  readonly results: Results;
  readonly append: (event: NewJobEvent) => void;
  readonly pollMs: number;
  readonly signal: AbortSignal;
};

/** Between writes of TensorBoard's files: it looks at them every few seconds. */
const TENSORBOARD_MS = 1000;
const PAGE_EVENTS = 1024;
const NO_HINTS: TrainerHints = { placeholders: {}, env: {} };

export class JobProgress {
  readonly #init: JobProgressInit;
  readonly #tensorboard: TensorBoardSink | undefined;
  #adapter: ProgressAdapter | undefined;
  #told: readonly ToldMetric[] = [];

  constructor(init: JobProgressInit) {
    this.#init = init;
    const { spec, paths, log } = init;
    this.#tensorboard =
      spec.tensorboard === true
        ? new TensorBoardSink({
            dir: join(paths.dir, "tensorboard"),
            output: paths.output,
            log,
            writeMs: TENSORBOARD_MS,
            onFailed: (error) => this.#say(`TensorBoard's files: ${messageOf(error)}`),
          })
        : undefined;
  }

  /** `command` of a new trainer, placeholders included. Throws `trainer_failed` when its progress could not be read. */
  async start(trainer: TrainerPhase, command: readonly string[] = []): Promise<void> {
    this.#adapter = await this.#newAdapter(this.#init.spec.progress, command);
    if (trainer !== "new" && this.#adapter !== undefined) await this.#remember();
    await this.#adapter?.start(trainer);
    await this.#tensorboard?.start();
  }

  /** The trainer's command and environment with what it must know to be heard. */
  told(trainer: {
    readonly command: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  }): { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>> } {
    const { placeholders, env } = this.#adapter?.hints ?? NO_HINTS;
    const command = trainer.command.map((argument) => {
      let text = argument;
      for (const [name, value] of Object.entries(placeholders)) {
        text = text.replaceAll(`{${name}}`, value);
      }
      return text;
    });
    return { command, env: { ...trainer.env, ...env } };
  }

  /** Tells what is left after the trainer's end; what cannot be told is said and fails nothing. */
  async finish(): Promise<void> {
    try {
      await this.#adapter?.finish();
      await this.#init.log.written();
      await this.#tensorboard?.finish();
    } catch (error) {
      if (isAbort(error)) throw error;
      this.#say(`the trainer's progress could not be read to its end: ${messageOf(error)}`);
    }
  }

  /** Asks the trainer to end by itself; false when it cannot be asked. */
  requestStop(): boolean {
    return this.#adapter?.requestStop() ?? false;
  }

  async stop(): Promise<void> {
    await Promise.all([this.#adapter?.stop(), this.#tensorboard?.stop()]);
  }

  /** Loaded when a job uses them: most use none. */
  async #newAdapter(
    progress: ProgressFormat | undefined,
    command: readonly string[],
  ): Promise<ProgressAdapter | undefined> {
    const { paths, pollMs } = this.#init;
    const init: AdapterInit = {
      emit: (events) => this.#emit(events),
      told: () => this.#told,
      say: (line) => this.#say(line),
    };
    if (progress === undefined) return undefined;
    switch (progress.format) {
      case "json":
        return undefined;
      case "csv": {
        const { CsvAdapter } = await import("./csv/csv-adapter.ts");
        const roots = [paths.output, paths.work];
        return new CsvAdapter({ ...init, path: progress.path, roots, pollMs });
      }
      case "sleap": {
        const { SleapAdapter } = await import("./sleap/sleap-adapter.ts");
        const takesPorts = command.some((one) => /\{(?:controller|publish)_port\}/.test(one));
        const portsFile = join(paths.dir, "sleap-ports.json");
        return new SleapAdapter({ ...init, portsFile, takesPorts, now: () => performance.now() });
      }
      default:
        return assertNever(progress);
    }
  }

  /** What a former daemon told by adapters: the results count it, and the adapters do not tell it again. */
  async #remember(): Promise<void> {
    const { log, results } = this.#init;
    const told: ToldMetric[] = [];
    for (let since = log.firstSeq - 1; ;) {
      const events = await log.read(since, PAGE_EVENTS);
      const last = events.at(-1);
      if (last === undefined) break;
      since = last.seq;
      for (const event of events) {
        if (event.type !== "metric" || event.source === undefined) continue;
        results.metric(event.data);
        told.push(event);
      }
    }
    this.#told = told;
  }

  async #emit(events: readonly NewJobEvent[]): Promise<void> {
    const { log, signal, results } = this.#init;
    if (!log.hasRoom) await log.waitForRoom(signal);
    signal.throwIfAborted();
    for (const event of events) if (event.type === "metric") results.metric(event.data);
    log.appendAll(events);
  }

  #say(line: string): void {
    this.#init.append({ type: "log", stream: "waybill", line });
  }
}

// What tells a job's progress besides the lines its trainer prints. An adapter makes the worker understand programs
// that were written for other tools; lines on standard output are read in every case.
import type { JobEvent, NewJobEvent } from "@waybill/sdk/protocol";

/** What a trainer must be told to find the adapter. */
export type TrainerHints = {
  /** Replace `{name}` in the arguments of its command. */
  readonly placeholders: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
};

/** `running`: a former daemon started it, and it runs on; `over`: it has ended since. */
export type TrainerPhase = "new" | "running" | "over";

export type ProgressAdapter = {
  /** Gets ready for the trainer; throws `trainer_failed` when the progress of a new one could not be read. */
  start(trainer: TrainerPhase): Promise<void>;
  /** Known once it has started. */
  readonly hints: TrainerHints;
  /** Tells what is left; the trainer has ended. */
  finish(): Promise<void>;
  /** Ends without waiting for more. Idempotent. */
  stop(): Promise<void>;
  /** Asks the trainer to end by itself; false when it cannot be asked, so that a signal has to. */
  requestStop(): boolean;
};

export type ToldMetric = Extract<JobEvent, { type: "metric" }>;

export type AdapterInit = {
  /** Waits while the log has no room: what feeds an adapter is held up, never a trainer. */
  readonly emit: (events: readonly NewJobEvent[]) => Promise<void>;
  /** What former daemons told of this attempt's trainer, by adapters. */
  readonly told: () => readonly ToldMetric[];
  /** A line of the worker's own in the job's log. */
  readonly say: (line: string) => void;
};

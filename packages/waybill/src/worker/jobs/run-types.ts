// The words of the job machine: its states, what can happen to it, and what it wants done.
import type { Adjustment, CommandName, JobState, ModelId } from "@waybill/sdk/protocol";

export type Outcome = Extract<JobState, "completed" | "failed" | "cancelled" | "interrupted">;
export type End = {
  readonly outcome: Outcome;
  readonly reason?: string;
  readonly exitCode?: number;
  readonly model?: ModelId;
};

/** A command that has been received and not yet answered for good. */
export type Waiting = {
  readonly id: string;
  readonly name: CommandName;
  /** Of `adjust`. */
  readonly values?: Adjustment | undefined;
};
/** Why a trainer is being ended before it ends itself. */
export type Ending = "stop" | "cancel" | "shutdown" | "space" | "revoke";

export type RunState =
  | {
      readonly phase: "preparing";
      readonly ready: boolean;
      readonly paused: boolean;
      /** What the trainer is told as soon as it runs. */
      readonly waiting: readonly Waiting[];
    }
  | { readonly phase: "training"; readonly paused: boolean; readonly waiting: readonly Waiting[] }
  /** The worker goes: the trainer saves, then the newest checkpoint is brought to the room. */
  | {
      readonly phase: "leaving";
      readonly step: "asking" | "flushing";
      /** The trainer has ended by itself meanwhile. */
      readonly end?: End;
      readonly waiting: readonly Waiting[];
    }
  | {
      readonly phase: "ending";
      readonly ending: Ending;
      readonly launched: boolean;
      readonly waiting: readonly Waiting[];
    }
  | { readonly phase: "publishing"; readonly committed: boolean }
  | {
      readonly phase: "aborting";
      readonly ending: "cancel" | "revoke";
      readonly waiting: readonly Waiting[];
    }
  | { readonly phase: "finishing"; readonly end: End }
  | { readonly phase: "done"; readonly outcome: Outcome | "dropped" };

export type RunEvent =
  | { readonly type: "prepared" }
  | { readonly type: "prepare.failed"; readonly reason: string }
  | { readonly type: "prepare.stopped" }
  | { readonly type: "launched" }
  | { readonly type: "launch.failed"; readonly reason: string }
  | {
      readonly type: "command";
      readonly id: string;
      readonly name: CommandName;
      readonly values?: Adjustment | undefined;
      /** The trainer's standard input is empty: it can be told nothing. */
      readonly deaf?: boolean;
    }
  /** The trainer says that it has taken new values; without an id the oldest `adjust` is meant. */
  | {
      readonly type: "adjusted";
      readonly id?: string | undefined;
      readonly values: Readonly<Record<string, unknown>>;
    }
  /** The trainer says that it has written a checkpoint. */
  | { readonly type: "checkpointed"; readonly path?: string | undefined }
  /** The trainer could not be told. */
  | { readonly type: "tell.failed"; readonly id: string; readonly reason: string }
  /** The trainer has not answered in time. */
  | { readonly type: "unanswered"; readonly id: string; readonly afterMs: number }
  /** The process group was seen stopped or running again. */
  | { readonly type: "signalled"; readonly effect: "pause" | "resume" }
  | {
      readonly type: "signal.failed";
      readonly effect: "pause" | "resume";
      readonly reason: string;
    }
  /** Every process of the trainer is gone. `ok`: it exited with 0. */
  | {
      readonly type: "exited";
      readonly ok: boolean;
      readonly exitCode?: number;
      readonly reason: string;
    }
  /** The trainer ended while no daemon watched, and left no status: it, or the machine, was killed. */
  | { readonly type: "lost"; readonly reason: string }
  /** From here on the registry may name the model: publishing can no longer be called off. */
  | { readonly type: "committing" }
  | { readonly type: "published"; readonly model: ModelId }
  | { readonly type: "publish.failed"; readonly reason: string }
  | { readonly type: "publish.aborted" }
  | { readonly type: "stored" }
  /** The hub no longer counts this attempt as the job's. */
  | { readonly type: "revoked" }
  /** The worker's disk is nearly full. */
  | { readonly type: "disk.low" }
  /** `saves`: checkpoints of this worker's jobs are kept in the room. */
  | { readonly type: "shutdown"; readonly saves: boolean }
  /** The time for a checkpoint before the worker goes is over, or nobody could be asked. */
  | { readonly type: "save.over" }
  /** The newest checkpoint is in the room, or the time for that is over. */
  | { readonly type: "flushed" };

/** How long a trainer has between SIGTERM and SIGKILL: to save a model, to save nothing, or before the machine goes. */
export type Grace = "stop" | "cancel" | "shutdown";

export type RunEffect =
  | { readonly type: "abort.prepare" }
  | { readonly type: "launch" }
  | { readonly type: "pause" }
  | { readonly type: "resume" }
  /** Write the command to the trainer's standard input, and wait for its answer. */
  | { readonly type: "tell"; readonly command: Waiting }
  /** Wait for the trainer's answer (again). */
  | { readonly type: "await"; readonly command: Waiting }
  /** Ask the trainer, which may be frozen, for a checkpoint before the worker goes. */
  | { readonly type: "save" }
  /** Bring the newest checkpoint to the room, within the time there is. */
  | { readonly type: "flush" }
  /** SIGTERM, and SIGKILL after the grace that goes with it. */
  | { readonly type: "terminate"; readonly grace: Grace }
  | { readonly type: "publish"; readonly stoppedEarly: boolean }
  | { readonly type: "abort.publish" }
  | { readonly type: "announce"; readonly state: "running" | "paused" | "stopping" }
  | {
      readonly type: "ack";
      readonly command: Waiting;
      readonly stage: "received" | "applied" | "rejected";
      readonly message?: string;
      readonly values?: Readonly<Record<string, unknown>>;
    }
  /** Tell the hub how it ended, with the last events. */
  | { readonly type: "end"; readonly end: End }
  /** Forget the attempt: nothing more of it is written anywhere. */
  | { readonly type: "drop" };

export type Step = { readonly state: RunState; readonly effects: readonly RunEffect[] };

export type In<P extends RunState["phase"]> = Extract<RunState, { phase: P }>;

/** Where every attempt begins. */
export const INITIAL: RunState = {
  phase: "preparing",
  ready: false,
  paused: false,
  waiting: [],
};

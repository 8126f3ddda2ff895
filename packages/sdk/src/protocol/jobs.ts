// Jobs: what a client asks for, and the document a hub keeps of it (`{room}/jobs/{jobId}/job.json`).
import * as v from "valibot";
import { Label, Role } from "./access.ts";
import { Adjusted, JobState } from "./events.ts";
import {
  Alias,
  ArtifactId,
  ArtifactName,
  ByteCount,
  JobId,
  ModelId,
  ModelType,
  PeerId,
  RoomId,
  Tag,
  Timestamp,
} from "./ids.ts";
import { Sweep } from "./sweep.ts";
import { Requirements, WorkerKind } from "./workers.ts";

const Environment = v.record(
  v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/)),
  v.pipe(v.string(), v.maxLength(8192)),
);

/**
 * `json`: lines on standard output. `sleap`: the ZeroMQ ports of SLEAP and sleap-nn. `csv`: a log with a header line that grows by a
 * line an epoch, relative to `WAYBILL_OUTPUT` or the working directory. Lines on standard output are read in every case.
 */
export const ProgressFormat = v.variant("format", [
  v.object({ format: v.literal("json") }),
  v.object({ format: v.literal("sleap") }),
  v.object({
    format: v.literal("csv"),
    path: v.optional(
      v.pipe(
        v.string(),
        v.minLength(1),
        v.maxLength(512),
        v.check(
          (path) => !/^(?:[\\/]|[A-Za-z]:[\\/])/.test(path) && !path.split(/[\\/]/).includes(".."),
          "the CSV log must lie in WAYBILL_OUTPUT or the working directory: give a path relative to them, without ..",
        ),
      ),
      "training_log.csv",
    ),
  }),
]);
export type ProgressFormat = v.InferOutput<typeof ProgressFormat>;

/** Where a later attempt begins: the newest checkpoint that is safe in the room. */
export const ResumePoint = v.object({
  artifact: ArtifactId,
  bytes: ByteCount,
  /** Attempt that made it, and when. */
  attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  at: Timestamp,
  /** Which of the attempt's checkpoints it is, as the worker counts them. */
  n: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  /** The trainer's own words about it (`epoch`, `val_loss`, …). */
  data: v.record(v.string(), v.unknown()),
});
export type ResumePoint = v.InferOutput<typeof ResumePoint>;

/** Attempts in a row without a new checkpoint, when the spec does not say. */
export const DEFAULT_MAX_ATTEMPTS = 5;

export const JobSpec = v.pipe(
  v.object({
    /** Dataset to lay out under `WAYBILL_DATASET`. */
    dataset: v.optional(ArtifactId),
    /** Files laid out in the trainer's working directory. */
    code: v.optional(ArtifactId),
    /** Program and arguments, run without a shell. */
    command: v.optional(
      v.pipe(v.array(v.pipe(v.string(), v.maxLength(32_768))), v.minLength(1), v.maxLength(1024)),
    ),
    /** Or the name of a trainer the worker's operator configured. */
    trainer: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9._-]{1,64}$/))),
    /** Written as JSON to the file `WAYBILL_CONFIG` names. */
    config: v.optional(v.record(v.string(), v.unknown()), {}),
    /** Values may be credentials: only the worker is told them, everybody else gets `""`. */
    env: v.optional(Environment, {}),
    modelType: v.optional(ModelType, "model"),
    /** Distinguishes trainings that are otherwise described alike; the job's id when absent. */
    runName: v.optional(Label),
    /** Part of what identifies the training, and told to the trainer as `WAYBILL_SEED`. */
    seed: v.optional(v.pipe(v.number(), v.safeInteger())),
    alias: v.optional(Alias),
    tags: v.optional(v.pipe(v.array(Tag), v.maxLength(64)), []),
    notes: v.optional(v.pipe(v.string(), v.maxLength(4096))),
    parent: v.optional(ModelId),
    /** Jobs with the same one are compared: the best model is tagged (registry.md, Automatic tags). */
    sweep: v.optional(Sweep),
    requirements: v.optional(Requirements, {}),
    /** Names for people; resolved to ids before submission. */
    datasetName: v.optional(ArtifactName),
    /** How the trainer tells its progress. Default: JSON lines on its output (trainer.md §7). */
    progress: v.optional(ProgressFormat),
    /** Writes the metrics as TensorBoard's event files, too, published with the model under `tensorboard/`. */
    tensorboard: v.optional(v.boolean()),
    /** What the trainer's standard input brings: `adjust` and `checkpoint` as lines (default), or its end at once. */
    stdin: v.optional(v.picklist(["commands", "empty"])),
    /** Attempts in a row that may end without a new checkpoint before the job fails. */
    maxAttempts: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(100))),
  }),
  v.check(
    (spec) => (spec.command === undefined) !== (spec.trainer === undefined),
    "give either a command or a trainer's name",
  ),
);
export type JobSpec = v.InferOutput<typeof JobSpec>;

/** How somebody wants a job to end that a worker has. */
export const JobWish = v.object({
  name: v.picklist(["stop", "cancel"]),
  /** Of the command. */
  id: v.string(),
  by: v.string(),
  at: Timestamp,
});
export type JobWish = v.InferOutput<typeof JobWish>;

export const JobDoc = v.object({
  job: JobId,
  room: RoomId,
  spec: JobSpec,
  state: JobState,
  reason: v.optional(v.string()),
  submittedBy: v.string(),
  submittedAt: Timestamp,
  startedAt: v.optional(Timestamp),
  endedAt: v.optional(Timestamp),
  /** Counts tries; only the current attempt's worker may write (I11). 0 until first assigned. */
  attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  worker: v.optional(PeerId),
  /** What the worker said of itself when it was given the job: it may be away when that matters (events.md §5). */
  assignee: v.optional(v.object({ name: Label, kind: WorkerKind })),
  leaseUntil: v.optional(Timestamp),
  /** Highest sequence number the current writer may have used; whoever writes next starts above it. */
  seqReserved: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  model: v.optional(ModelId),
  resume: v.optional(ResumePoint),
  /** What the trainer has been given by `adjust` and confirmed: a later attempt begins with it (events.md §7). */
  adjusted: v.optional(Adjusted),
  /** Attempts in a row, up to the last one, that were interrupted without a new checkpoint. */
  fruitless: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  /** The last attempt whose worker said that it was interrupted: asking again gets the same answer. */
  interrupted: v.optional(v.object({ attempt: v.number(), worker: PeerId })),
  /** `stop` or `cancel`, asked for while a worker has the job: no other attempt follows (events.md §7). */
  wish: v.optional(JobWish),
  /** Of `spec.parent`: workers that have it are preferred. */
  parentArtifact: v.optional(ArtifactId),
  /** Thumbprint of the key that submitted it, or `owner`: the queue is fair between people (events.md §6). */
  submitter: v.optional(v.string()),
  /** Their role then: what the owner submitted may move a protected alias when its model is published. */
  submitterRole: v.optional(Role),
});
export type JobDoc = v.InferOutput<typeof JobDoc>;

/** What a hub gives a worker with a job. */
export const JobAssignment = v.object({
  job: JobId,
  room: RoomId,
  spec: JobSpec,
  attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  /** First sequence number of this attempt. */
  firstSeq: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  /** Last number it may use before it has renewed its lease. */
  seqReserved: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  leaseUntil: Timestamp,
  /** How long the lease is; 60 s when absent. Renewed every quarter of it. */
  leaseMs: v.optional(v.pipe(v.number(), v.minValue(1))),
  submittedBy: v.string(),
  resume: v.optional(ResumePoint),
  /** Of the document: what the attempts before were given by `adjust`. */
  adjusted: v.optional(Adjusted),
});
export type JobAssignment = v.InferOutput<typeof JobAssignment>;

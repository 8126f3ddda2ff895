// Jobs: what a client asks for, and the document a hub keeps of it (`{room}/jobs/{jobId}/job.json`).
import * as v from "valibot";
import { Label } from "./access.ts";
import { JobState } from "./events.ts";
import {
  Alias,
  ArtifactId,
  ArtifactName,
  JobId,
  ModelId,
  ModelType,
  PeerId,
  RoomId,
  Tag,
  Timestamp,
} from "./ids.ts";
import { Requirements } from "./workers.ts";

const Environment = v.record(
  v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/)),
  v.pipe(v.string(), v.maxLength(8192)),
);

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
    alias: v.optional(Alias),
    tags: v.optional(v.pipe(v.array(Tag), v.maxLength(64)), []),
    notes: v.optional(v.pipe(v.string(), v.maxLength(4096))),
    parent: v.optional(ModelId),
    requirements: v.optional(Requirements, {}),
    /** Names for people; resolved to ids before submission. */
    datasetName: v.optional(ArtifactName),
  }),
  v.check(
    (spec) => (spec.command === undefined) !== (spec.trainer === undefined),
    "give either a command or a trainer's name",
  ),
);
export type JobSpec = v.InferOutput<typeof JobSpec>;

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
  leaseUntil: v.optional(Timestamp),
  /** Highest sequence number the current writer may have used; whoever writes next starts above it. */
  seqReserved: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  model: v.optional(ModelId),
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
  submittedBy: v.string(),
});
export type JobAssignment = v.InferOutput<typeof JobAssignment>;

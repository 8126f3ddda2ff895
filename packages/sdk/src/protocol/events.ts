// Facts about a job, each with one sequence number (docs/protocol/events.md). Appended by the hub
// until a worker is assigned, then by the worker, spooled on its disk and stored in segments.
import * as v from "valibot";
import { Gpu } from "./workers.ts";
import {
  Alias,
  ArtifactId,
  ByteCount,
  JobId,
  ModelId,
  ModelType,
  PeerId,
  Tag,
  Timestamp,
} from "./ids.ts";

export const JOB_STATES = [
  "queued",
  "assigned",
  "running",
  "paused",
  "stopping",
  "completed",
  "failed",
  "cancelled",
  "interrupted",
] as const;
export const JobState = v.picklist(JOB_STATES);
export type JobState = v.InferOutput<typeof JobState>;

const TERMINAL: ReadonlySet<JobState> = new Set<JobState>([
  "completed",
  "failed",
  "cancelled",
  "interrupted",
]);

/** Whether nothing follows a job's state any more. */
export function isTerminal(state: JobState): boolean {
  return TERMINAL.has(state);
}

export const CommandName = v.picklist([
  "pause",
  "resume",
  "stop",
  "cancel",
  "adjust",
  "checkpoint",
]);
export type CommandName = v.InferOutput<typeof CommandName>;

const Scalars = v.record(
  v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/, "not a key")),
  v.union([v.pipe(v.string(), v.maxLength(1024)), v.number(), v.boolean(), v.null()]),
);

/** Keys one `adjust` may ask for. */
export const MAX_ADJUSTMENT = 64;

/** What `adjust` asks for: 1 to 64 keys with JSON scalars. */
export const Adjustment = v.pipe(
  Scalars,
  v.minEntries(1, "adjust what?"),
  v.maxEntries(MAX_ADJUSTMENT),
);
export type Adjustment = v.InferOutput<typeof Adjustment>;

/** Keys of a job that can have been adjusted; four times what one `adjust` may ask for. */
export const MAX_ADJUSTED = 256;

/** What a job's trainers have confirmed of every `adjust` so far: the last value of each key. */
export const Adjusted = v.pipe(Scalars, v.maxEntries(MAX_ADJUSTED));
export type Adjusted = v.InferOutput<typeof Adjusted>;

const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Seq = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const base = {
  seq: Seq,
  time: Timestamp,
  /** 1 for the first try of the job; hub events before any try carry 0. */
  attempt: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
};
/** Keys as the trainer printed them. */
const Data = v.record(v.string(), v.unknown());

export const SystemSample = v.object({
  /** Share of all CPUs in use by the machine and by the trainer's process group, 0–1. */
  cpu: v.number(),
  trainerCpu: v.optional(v.number()),
  memoryBytes: ByteCount,
  memoryTotalBytes: ByteCount,
  trainerRssBytes: v.optional(ByteCount),
  diskFreeBytes: v.optional(ByteCount),
  /** Of the whole machine, since the last sample. */
  diskReadBytesPerSecond: v.optional(v.number()),
  diskWriteBytesPerSecond: v.optional(v.number()),
  networkInBytesPerSecond: v.optional(v.number()),
  networkOutBytesPerSecond: v.optional(v.number()),
  gpus: v.array(
    v.object({
      ...Gpu.entries,
      utilisation: v.number(),
      memoryUsedMb: v.number(),
      temperatureC: v.optional(v.number()),
      powerW: v.optional(v.number()),
    }),
  ),
});
export type SystemSample = v.InferOutput<typeof SystemSample>;

export const JobEvent = v.variant("type", [
  v.object({
    ...base,
    type: v.literal("state"),
    state: JobState,
    reason: v.optional(v.string()),
    worker: v.optional(PeerId),
    exitCode: v.optional(v.number()),
  }),
  v.object({
    ...base,
    type: v.literal("log"),
    stream: v.picklist(["stdout", "stderr", "waybill"]),
    line: v.string(),
    cut: v.optional(v.literal(true)),
  }),
  v.object({
    ...base,
    type: v.literal("metric"),
    data: Data,
    /** What told it when it was not a line on standard output; a CSV log's `row` counts from 1 (trainer.md §7). */
    source: v.optional(v.picklist(["sleap", "csv"])),
    row: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
  }),
  v.object({
    ...base,
    type: v.literal("sample"),
    data: Data,
    file: v.string(),
    mime: v.string(),
    bytes: ByteCount,
  }),
  /** The trainer wrote a checkpoint; with `artifact`, it is safe in the room and a later attempt can begin from it. */
  v.object({
    ...base,
    type: v.literal("checkpoint"),
    data: Data,
    artifact: v.optional(ArtifactId),
    bytes: v.optional(ByteCount),
  }),
  v.object({ ...base, type: v.literal("system"), system: SystemSample }),
  v.object({
    ...base,
    type: v.literal("transfer"),
    what: v.picklist(["dataset", "code", "model", "checkpoint"]),
    direction: v.picklist(["down", "up"]),
    artifact: v.optional(ArtifactId),
    bytes: ByteCount,
    total: ByteCount,
    seconds: v.number(),
    /** Bytes by source of a download (`cache`, `s3`, …) or by sink of an upload. */
    sources: v.record(v.string(), ByteCount),
    done: v.boolean(),
  }),
  v.object({
    ...base,
    type: v.literal("command"),
    id: v.string(),
    name: CommandName,
    stage: v.picklist(["received", "applied", "rejected"]),
    by: v.string(),
    message: v.optional(v.string()),
    /** Of `adjust`: what was asked for, then what the trainer says it has set. */
    values: v.optional(Data),
  }),
  /** Some of what the model predicted, as its trainer wrote it; told behind the result (trainer.md §4). */
  v.object({
    ...base,
    type: v.literal("predictions"),
    /** Number of the first row, from 0. */
    first: Count,
    rows: v.array(v.unknown()),
  }),
  /** The trainer ended well: what it produced, before the bytes are published. */
  v.object({
    ...base,
    type: v.literal("result"),
    data: Data,
    files: v.number(),
    bytes: ByteCount,
    stoppedEarly: v.boolean(),
    /** The id that is reserved for the model, and the alias that was asked for it: `published` says what it got. */
    model: v.optional(ModelId),
    modelType: v.optional(ModelType),
    alias: v.optional(Alias),
    /** Rows that are told behind this, rows that were too large to be, and whether there are others. */
    predictions: v.optional(v.object({ rows: Count, leftOut: Count, more: v.boolean() })),
    /** Images that follow as samples of type `thumbnail`. */
    thumbnails: v.optional(Count),
  }),
  /** The model's bytes are verified in the object store and the registry names them. */
  v.object({
    ...base,
    type: v.literal("published"),
    model: ModelId,
    modelType: ModelType,
    artifact: ArtifactId,
    bytes: ByteCount,
    alias: v.optional(Alias),
    tags: v.array(Tag),
    s3Path: v.string(),
    /** Of a pipeline, in the order they run in. */
    parts: v.optional(
      v.array(v.object({ model: ModelId, modelType: ModelType, artifact: ArtifactId })),
    ),
  }),
]);
export type JobEvent = v.InferOutput<typeof JobEvent>;
export type JobEventOf<T extends JobEvent["type"]> = Extract<JobEvent, { type: T }>;

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
/** An event before the log has given it its number, time and attempt. */
export type NewJobEvent = DistributiveOmit<JobEvent, "seq" | "time" | "attempt">;

/** One command to a job, idempotent by id. */
export const JobCommand = v.object({
  id: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/)),
  job: JobId,
  name: CommandName,
  /** Of `adjust`: keys and their new values. */
  values: v.optional(Adjustment),
});
export type JobCommand = v.InferOutput<typeof JobCommand>;

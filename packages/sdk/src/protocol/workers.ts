// What a worker says of itself, and how a job's requirements are matched against it.
import * as v from "valibot";
import { Label } from "./access.ts";
import { ArtifactId, ByteCount, JobId, PeerId, Timestamp } from "./ids.ts";
import { type Matchable, conditionProblem, conditionsOf, unmetCondition } from "./where.ts";

export const WorkerKind = v.picklist(["desktop", "ephemeral", "shared"]);
export type WorkerKind = v.InferOutput<typeof WorkerKind>;

export const Gpu = v.object({ name: v.string(), memoryMb: v.number() });
export type Gpu = v.InferOutput<typeof Gpu>;

export const WorkerCapabilities = v.object({
  kind: WorkerKind,
  platform: v.string(),
  arch: v.string(),
  cpus: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  memoryBytes: ByteCount,
  gpus: v.array(Gpu),
  /** Names of trainers the operator configured. */
  trainers: v.array(v.string()),
  /** Whether jobs may bring a command of their own. */
  commands: v.boolean(),
  labels: v.record(v.string(), v.string()),
  /** Jobs at once. */
  slots: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  version: v.string(),
});
export type WorkerCapabilities = v.InferOutput<typeof WorkerCapabilities>;

/**
 * What a room's members want of a worker: `active` takes jobs; `drain` finishes those it has; `maintenance` finishes them,
 * too, and says so to people; `reserved` takes only jobs of `for`.
 */
export const WorkerMode = v.object({
  mode: v.picklist(["active", "drain", "maintenance", "reserved"]),
  /** Label of the member a reserved worker works for. */
  for: v.optional(Label),
  note: v.optional(v.pipe(v.string(), v.maxLength(256))),
  by: v.optional(Label),
  since: v.optional(Timestamp),
});
export type WorkerMode = v.InferOutput<typeof WorkerMode>;

export const WorkerInfo = v.object({
  workerId: PeerId,
  name: Label,
  capabilities: WorkerCapabilities,
  /** Jobs it is working on. */
  jobs: v.array(JobId),
  connectedAt: Timestamp,
  /** Absent: active. */
  mode: v.optional(WorkerMode),
  /** Artifacts it said it has. */
  cached: v.optional(v.array(ArtifactId)),
  /** It serves them to members of the room (data-server.md). */
  serves: v.optional(v.literal(true)),
});
export type WorkerInfo = v.InferOutput<typeof WorkerInfo>;

export const Requirements = v.object({
  kind: v.optional(WorkerKind),
  minCpus: v.optional(v.number()),
  minMemoryBytes: v.optional(ByteCount),
  minGpus: v.optional(v.number()),
  minGpuMemoryMb: v.optional(v.number()),
  labels: v.optional(v.record(v.string(), v.string())),
  worker: v.optional(PeerId),
  /** Conditions such as `gpu.memoryMb >= 24000`; all must hold (events.md §6). */
  where: v.optional(
    v.pipe(
      v.array(
        v.pipe(
          v.string(),
          v.maxLength(256),
          v.check(
            (text) => conditionProblem(text) === undefined,
            ({ input }) => conditionProblem(input) ?? "",
          ),
        ),
      ),
      v.maxLength(16),
    ),
  ),
});
export type Requirements = v.InferOutput<typeof Requirements>;

type Wanted = {
  readonly trainer?: string | undefined;
  /** What a job brings that can make any program do anything: `code` or `environment`. */
  readonly brings?: "code" | "environment" | undefined;
  readonly requirements: Requirements;
};

/** Code and environment need the same permission as a command (docs/protocol/events.md §6). */
export function broughtBy(spec: {
  readonly code?: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}): Wanted["brings"] {
  if (spec.code !== undefined) return "code";
  return Object.keys(spec.env).length > 0 ? "environment" : undefined;
}

/** The first reason why a worker cannot take a job, or `undefined` when it can. Ignores whether it is busy. */
export function unmetRequirement(
  worker: Pick<WorkerInfo, "workerId"> & Matchable,
  job: Wanted,
): string | undefined {
  const { capabilities: has } = worker;
  const { requirements: wants } = job;
  if (job.trainer === undefined && !has.commands) return "runs named trainers only";
  if (job.trainer !== undefined && !has.trainers.includes(job.trainer)) {
    return `has no trainer named ${job.trainer}`;
  }
  if (job.brings !== undefined && !has.commands) {
    return `runs named trainers only, without ${job.brings} of the job's own`;
  }
  if (wants.worker !== undefined && wants.worker !== worker.workerId)
    return "is not the worker asked for";
  if (wants.kind !== undefined && wants.kind !== has.kind)
    return `is ${has.kind}, not ${wants.kind}`;
  if ((wants.minCpus ?? 0) > has.cpus) return `has ${has.cpus} CPUs, not ${wants.minCpus}`;
  if ((wants.minMemoryBytes ?? 0) > has.memoryBytes)
    return `has ${has.memoryBytes} bytes of memory`;
  const fitting = has.gpus.filter((gpu) => gpu.memoryMb >= (wants.minGpuMemoryMb ?? 0)).length;
  const gpusWanted = wants.minGpus ?? (wants.minGpuMemoryMb === undefined ? 0 : 1);
  if (fitting < gpusWanted) return `has ${fitting} fitting GPUs, not ${gpusWanted}`;
  for (const [key, value] of Object.entries(wants.labels ?? {})) {
    if (has.labels[key] !== value) return `has no label ${key}=${value}`;
  }
  return wants.where === undefined ? undefined : unmetCondition(worker, conditionsOf(wants.where));
}

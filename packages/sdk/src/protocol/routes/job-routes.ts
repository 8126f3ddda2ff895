// Jobs, their events, samples and workers.
import * as v from "valibot";
import { Label } from "../access.ts";
import { Adjusted, Adjustment, CommandName, JobEvent, JobState } from "../events.ts";
import { ArtifactId, JobId, ModelId, PeerId, RoomId, Timestamp } from "../ids.ts";
import { JobDoc, JobSpec, ResumePoint } from "../jobs.ts";
import { WorkerInfo, WorkerMode } from "../workers.ts";
import { ALL, WORKERS, WRITERS, route } from "./route.ts";

const inRoom = v.object({ room: RoomId });
const inJob = v.object({ room: RoomId, job: JobId });
const inSample = v.object({
  room: RoomId,
  job: JobId,
  file: v.pipe(v.string(), v.regex(/^[0-9a-f]{16,64}\.(?:png|jpg|webp|gif)$/)),
});
const Ok = v.object({ ok: v.literal(true) });
const Seq = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const SeqText = v.pipe(v.string(), v.regex(/^\d{1,15}$/), v.transform(Number));
const Attempt = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const Reason = v.pipe(v.string(), v.maxLength(1024));

export const JOB_ROUTES = {
  submitJob: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs",
    roles: WRITERS,
    summary: "Submit a job; idempotent by its id",
    params: inRoom,
    body: v.object({
      job: JobId,
      spec: JobSpec,
      submittedBy: v.optional(Label),
    }),
    response: JobDoc,
  }),
  checkJob: route({
    method: "POST",
    path: "/v1/rooms/:room/job-checks",
    roles: WRITERS,
    summary: "What submitting a job would say: everything is checked, nothing is stored",
    params: inRoom,
    body: v.object({ spec: JobSpec, submittedBy: v.optional(Label) }),
    response: v.object({
      /** Workers connected to this hub, and how many of them would take the job. */
      workers: v.number(),
      fitting: v.number(),
      /** Why it would wait. */
      reason: v.string(),
    }),
  }),
  listJobs: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs",
    roles: ALL,
    summary: "Jobs, newest first",
    params: inRoom,
    query: v.object({ state: v.optional(JobState), limit: v.optional(SeqText) }),
    response: v.object({ jobs: v.array(JobDoc) }),
  }),
  showJob: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs/:job",
    roles: ALL,
    summary: "A job",
    params: inJob,
    response: JobDoc,
  }),
  commandJob: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/commands",
    roles: WRITERS,
    summary:
      "Pause, resume, stop, cancel, adjust or checkpoint; answers when the worker has received it, or applied at once while queued",
    params: inJob,
    body: v.object({
      id: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/)),
      name: CommandName,
      by: v.optional(Label),
      values: v.optional(Adjustment),
    }),
    response: v.object({
      id: v.string(),
      /** `noted`: the worker is out of reach; the job is cancelled when it comes back or its lease ends. */
      stage: v.picklist(["received", "applied", "noted"]),
      worker: v.optional(PeerId),
      /** Of `received`: when it takes effect, if that is not now. */
      message: v.optional(v.string()),
      /** Of `noted`: when the lease ends. */
      until: v.optional(Timestamp),
    }),
  }),
  readEvents: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs/:job/events",
    roles: ALL,
    summary: "Stored events after a sequence number, a page at a time, or the last ones (`tail`)",
    params: inJob,
    query: v.object({
      since: v.optional(SeqText),
      limit: v.optional(SeqText),
      tail: v.optional(SeqText),
    }),
    response: v.object({
      events: v.array(JobEvent),
      more: v.boolean(),
      lastSeq: Seq,
      state: JobState,
    }),
  }),
  appendEvents: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/events",
    roles: WORKERS,
    summary: "Store a run of consecutive events as a segment; idempotent",
    params: inJob,
    body: v.object({ attempt: Attempt, events: v.pipe(v.array(JobEvent), v.minLength(1)) }),
    response: v.object({ lastSeq: Seq }),
  }),
  renewLease: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/lease",
    roles: WORKERS,
    summary: "Keep a job: extends the lease and the reserved sequence numbers",
    params: inJob,
    body: v.object({
      attempt: Attempt,
      state: v.picklist(["assigned", "running", "paused", "stopping"]),
      lastSeq: Seq,
      /** What the trainer has confirmed of `adjust` so far. */
      adjusted: v.optional(Adjusted),
    }),
    response: v.object({ leaseUntil: Timestamp, seqReserved: Seq }),
  }),
  endJob: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/end",
    roles: WORKERS,
    summary: "The attempt's outcome with its last events; idempotent",
    params: inJob,
    body: v.object({
      attempt: Attempt,
      state: v.picklist(["completed", "failed", "cancelled", "interrupted"]),
      reason: v.optional(Reason),
      model: v.optional(ModelId),
      events: v.array(JobEvent),
    }),
    response: JobDoc,
  }),
  recordCheckpoint: route({
    method: "POST",
    path: "/v1/rooms/:room/jobs/:job/checkpoints",
    roles: WORKERS,
    summary: "Name an uploaded checkpoint as the point where a later attempt begins",
    params: inJob,
    body: v.object({
      attempt: Attempt,
      artifact: ArtifactId,
      data: v.record(v.string(), v.unknown()),
      /** Grows from one to the next of an attempt, whatever restarts the worker: a late request does not lead back. */
      n: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
    }),
    response: v.object({ resume: ResumePoint }),
  }),
  putSample: route({
    method: "PUT",
    path: "/v1/rooms/:room/jobs/:job/samples/:file",
    roles: WORKERS,
    summary: "Keep one sample image (at most 1 MiB); the body is the image",
    params: inSample,
    response: Ok,
  }),
  readSample: route({
    method: "GET",
    path: "/v1/rooms/:room/jobs/:job/samples/:file",
    roles: ALL,
    summary: "A presigned GET of a sample image",
    params: inSample,
    response: v.object({ url: v.string(), expiresAt: Timestamp }),
  }),
  listWorkers: route({
    method: "GET",
    path: "/v1/rooms/:room/workers",
    roles: ALL,
    summary: "Workers present",
    params: inRoom,
    response: v.object({ workers: v.array(WorkerInfo) }),
  }),
  setWorkerMode: route({
    method: "PUT",
    path: "/v1/rooms/:room/workers/:worker/mode",
    roles: WRITERS,
    summary: "Drain, reserve or take a worker out for maintenance, or make it active again",
    params: v.object({ room: RoomId, worker: PeerId }),
    body: v.omit(WorkerMode, ["by", "since"]),
    response: v.object({ mode: WorkerMode }),
  }),
} as const;

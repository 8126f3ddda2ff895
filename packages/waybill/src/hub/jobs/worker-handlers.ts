// Routes for a job's worker: its events, its lease, its samples, its end. Every one is fenced by attempt and key (I11).
import {
  type JobDoc,
  JobDoc as JobDocSchema,
  type JobEvent,
  LIMITS,
  type ModelId,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { Handlers } from "../http/handler.ts";
import { readRegistry } from "../registry/room-registry.ts";
import { type Claim, assertHolder, claimedJob, noSuchJob } from "./fence.ts";
import { imageTypeOf } from "./image-type.ts";
import { type JobHandlerDeps, type WorkerRoute, known } from "./job-handlers.ts";
import { jobKey, sampleKey } from "./job-keys.ts";
import type { EndState } from "./job-ending.ts";
import { wasInterrupted } from "./job-state.ts";
import type { JobStore } from "./job-store.ts";
import { withoutSecrets } from "./without-secrets.ts";

/** The handlers of the routes only workers call. */
export function workerHandlers(deps: JobHandlerDeps): Handlers<WorkerRoute> {
  const { documents, store, events: log, live, dispatcher, clock } = deps;
  return {
    async appendEvents({ params: { room, job }, body: { attempt, events }, caller }) {
      const claim = { room, job, attempt, caller: known(caller) };
      const claimed = await claimedJob(documents, claim, clock());
      const { doc, timeLeftMs } = await store.hold(claimed, claim);
      await assertReserved(store, doc, assertRun(events, attempt));
      return { lastSeq: await log.append(room, job, events, timeLeftMs) };
    },

    async renewLease({ params: { room, job }, body, caller }) {
      live.note(room);
      try {
        const renewal = { type: "renew", caller: known(caller), ...body } as const;
        const { doc } = await store.apply(room, job, renewal);
        deps.commands.remind(doc);
        return { leaseUntil: doc.leaseUntil ?? "", seqReserved: doc.seqReserved };
      } catch (error) {
        if (error instanceof WaybillError && error.code === "storage_failed") live.forgiveLeases();
        throw error;
      }
    },

    async endJob({ params: { room, job }, body, caller: anyone }) {
      const { attempt, state, reason, model, events } = body;
      const caller = known(anyone);
      const claim = { room, job, attempt, caller };
      const doc = await heldOrEnded(deps, claim, state);
      if (isOver(doc, claim, state)) return withoutSecrets(doc);
      await assertReserved(store, doc, assertRun(events, attempt));
      await assertEndsWith(deps, claim, state, events);
      if (state === "completed") await assertPublished(deps, room, job, model);
      const { timeLeftMs } = await store.hold(doc, claim);
      if (events.length > 0) await log.append(room, job, events, timeLeftMs);
      if (state === "interrupted") await store.noteLoggedWish(doc);
      const end = { type: "end", caller, attempt, state, reason, model } as const;
      const ended = await store.apply(room, job, end);
      if (ended.changed && ended.doc.state === "queued" && doc.worker !== undefined) {
        dispatcher.interrupted(ended.doc, doc.worker);
      }
      return withoutSecrets(ended.doc);
    },

    async recordCheckpoint({ params: { room, job }, body, caller }) {
      return { resume: await deps.checkpointsOf.record(room, job, body, known(caller)) };
    },

    async putSample({ params: { room, job, file }, bytes, caller: anyone }) {
      const caller = known(anyone);
      const doc = await store.read(room, job, REMEMBERED);
      assertHolder(doc, { attempt: doc.attempt, caller });
      if (bytes.length > LIMITS.sampleBytes) {
        throw new WaybillError(
          "too_large",
          `sample ${file} has ${bytes.length} bytes; at most ${LIMITS.sampleBytes} are kept`,
        );
      }
      const type = imageTypeOf(bytes);
      if (type === undefined || !file.endsWith(`.${type}`)) {
        throw new WaybillError("invalid_request", `sample ${file} is ${type ?? "no image"}`);
      }
      await putOnce(deps, sampleKey(room, job, file), bytes, type);
      return { ok: true };
    },
  };
}

/** A document this process saw while its lease ran is as good as the store's. */
const REMEMBERED = { maxAgeMs: LIMITS.leaseMs };

/** Whether the attempt has ended in this state already: the first answer was lost. */
function isOver(doc: JobDoc, claim: Claim, state: EndState): boolean {
  return doc.state === state || (state === "interrupted" && wasInterrupted(doc, claim));
}

/** The job while the claim holds, or when the attempt has ended in this very state. */
async function heldOrEnded(
  { documents, clock }: JobHandlerDeps,
  claim: Claim,
  state: EndState,
): Promise<JobDoc> {
  try {
    return await claimedJob(documents, claim, clock());
  } catch (error) {
    if (!(error instanceof WaybillError) || error.code !== "stale_attempt") throw error;
    // `claimedJob` has just asked the store.
    const key = jobKey(claim.room, claim.job);
    const doc = (await documents.read(JobDocSchema, key, REMEMBERED))?.doc;
    if (doc === undefined) throw noSuchJob(claim.room, claim.job);
    if (state === "interrupted" && wasInterrupted(doc, claim)) return doc;
    assertHolder(doc, claim);
    if (doc.state === state) return doc;
    throw error;
  }
}

/** Checks that events are consecutive and of one attempt; answers the last number. */
function assertRun(events: readonly JobEvent[], attempt: number): number {
  let last: number | undefined;
  for (const { seq, attempt: of } of events) {
    if (of !== attempt) {
      throw new WaybillError("invalid_request", `event ${seq} is of attempt ${of}, not ${attempt}`);
    }
    if (last !== undefined && seq !== last + 1) {
      throw new WaybillError("invalid_request", `event ${seq} does not follow ${last}`);
    }
    last = seq;
  }
  return last ?? 0;
}

/** Throws unless the worker may use the number; another hub may have renewed its lease since. */
async function assertReserved(store: JobStore, remembered: JobDoc, last: number): Promise<void> {
  if (last <= remembered.seqReserved) return;
  const { room, job } = remembered;
  const { seqReserved } = await store.read(room, job);
  if (last <= seqReserved) return;
  throw new WaybillError(
    "conflict",
    `event ${last} of job ${job} is above ${seqReserved}, the last reserved number`,
    { hint: "renew the lease first" },
  );
}

/** events.md §5: a viewer that reads the log to its end must find the outcome there. */
async function assertEndsWith(
  { events: log }: JobHandlerDeps,
  { room, job, attempt }: Claim,
  state: EndState,
  events: readonly JobEvent[],
): Promise<void> {
  const last = events.at(-1) ?? (await log.tail(room, job))?.last;
  if (last?.type === "state" && last.state === state && last.attempt === attempt) return;
  throw new WaybillError(
    "invalid_request",
    `the last event of job ${job} must be its state ${state}, not ${last?.type ?? "nothing"}`,
  );
}

/** I5: the registry names the model, which it only does for verified bytes. */
async function assertPublished(
  { documents }: JobHandlerDeps,
  room: Claim["room"],
  job: Claim["job"],
  model: ModelId | undefined,
): Promise<void> {
  if (model === undefined) {
    throw new WaybillError("invalid_request", `job ${job} cannot be completed without a model`);
  }
  for (const options of [REMEMBERED, {}]) {
    const { models } = await readRegistry(documents, room, options);
    const entry = Object.hasOwn(models, model) ? models[model] : undefined;
    if (entry?.training.job === job) return;
  }
  throw new WaybillError(
    "conflict",
    `job ${job} cannot be completed: the registry names no model ${model} of it`,
    { hint: "publish the model first" },
  );
}

/** Samples are named by their digest: what is there already is the same. */
async function putOnce(
  { rooms }: JobHandlerDeps,
  key: string,
  bytes: Uint8Array,
  type: string,
): Promise<void> {
  const contentType = `image/${type === "jpg" ? "jpeg" : type}`;
  try {
    await rooms.put(key, bytes, { condition: { ifAbsent: true }, contentType });
  } catch (error) {
    if (error instanceof WaybillError && error.code === "precondition_failed") return;
    throw error;
  }
}

// What a command means for a job in each state (docs/protocol/events.md §7): applied to the document, sent to the worker,
// or noted for when the worker is back.
import {
  type JobDoc,
  type JobId,
  type RoomId,
  WaybillError,
  isTerminal,
  messageOf,
} from "@waybill/sdk/protocol";
import type { Caller } from "../http/handler.ts";
import type { Clock, Log } from "../log.ts";
import type { Command, CommandAnswer, CommandRelay } from "./commands.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { leaseOver } from "./job-state.ts";
import type { JobStore } from "./job-store.ts";
import type { LiveJobs } from "./live-jobs.ts";

export type CommandDeps = {
  readonly store: Pick<JobStore, "read" | "apply">;
  readonly dispatcher: Pick<Dispatcher, "forget">;
  readonly commands: Pick<CommandRelay, "send">;
  /** Looks at the room's live jobs soon. */
  readonly live: Pick<LiveJobs, "requestReview">;
  readonly clock: Clock;
  readonly log: Log;
};

/** Digits of a key that tell people apart. */
const KEY_DIGITS = 8;

/** Who gave a command: what they call themselves, and what is proven: `ada@desk (member 1bC4x9Zq)`. */
export function whoOf(label: string | undefined, { role, subject }: Caller): string {
  const proven = subject === role ? role : `${role} ${subject.slice(0, KEY_DIGITS)}`;
  return label === undefined ? proven : `${label} (${proven})`;
}

/** Throws `invalid_request` for values where they mean nothing, and an adjustment without. */
export function assertWellFormed({ name, values }: Command): void {
  if ((name === "adjust") === (values !== undefined)) return;
  const problem = name === "adjust" ? "values: adjust what?" : `values: ${name} takes none`;
  throw new WaybillError("invalid_request", problem);
}

/**
 * Carries out a command as far as the hub can. Throws `conflict` where it does not apply or the worker rejects it,
 * `unreachable` and `timeout` when the worker does not have it.
 */
export async function runCommand(
  deps: CommandDeps,
  room: RoomId,
  job: JobId,
  command: Command,
): Promise<CommandAnswer> {
  const { store, dispatcher } = deps;
  const { id, name, by } = command;
  let doc = await store.read(room, job);
  if (doc.state === "queued") {
    if (name !== "cancel") throw notApplicable(doc, name, whyNotQueued(name, doc));
    const cancelled = await store.apply(room, job, { type: "cancel", by, id });
    ({ doc } = cancelled);
    if (cancelled.changed) {
      dispatcher.forget(room, job);
      return { stage: "applied" };
    }
  }
  if (isTerminal(doc.state)) {
    // Another hub, or this one before its restart, has carried it out.
    const done = doc.state === "cancelled" && name === "cancel" && doc.wish?.id === id;
    if (done) return { stage: "applied" };
    throw notApplicable(doc, name, "it has ended");
  }
  return toWorker(deps, doc, command);
}

async function toWorker(deps: CommandDeps, doc: JobDoc, command: Command): Promise<CommandAnswer> {
  const { name } = command;
  const { worker } = doc;
  let message: string | undefined;
  try {
    message = await deps.commands.send(doc, command);
  } catch (error) {
    if (name !== "cancel" || !isOutOfReach(error)) throw error;
    return noted(deps, doc, command);
  }
  if (name === "stop" || name === "cancel") {
    // The worker has it; the document only has to know in case the worker is lost.
    await wish(deps, doc, command).catch((error: unknown) => {
      deps.log("warn", `${name} of job ${doc.job} is not noted: ${messageOf(error)}`);
    });
  }
  return {
    stage: "received",
    ...(worker === undefined ? {} : { worker }),
    ...(message === undefined ? {} : { message }),
  };
}

/** A cancel that waits for the worker to come back, or for its lease to end. */
async function noted(deps: CommandDeps, doc: JobDoc, command: Command): Promise<CommandAnswer> {
  const after = await wish(deps, doc, command);
  // It may have come back, or been taken to be lost, meanwhile.
  if (after.state === "queued" || isTerminal(after.state)) {
    return runCommand(deps, after.room, after.job, command);
  }
  const { worker, leaseUntil } = after;
  const isOver = leaseOver(after, deps.clock());
  // A silent worker keeps its job only while nobody wants it to end.
  if (isOver) deps.live.requestReview(after.room);
  const until = isOver ? new Date(deps.clock()).toISOString() : leaseUntil;
  return {
    stage: "noted",
    ...(worker === undefined ? {} : { worker }),
    ...(until === undefined ? {} : { until }),
  };
}

async function wish(
  { store }: CommandDeps,
  { room, job }: JobDoc,
  { id, name, by }: Command,
): Promise<JobDoc> {
  if (name !== "stop" && name !== "cancel") throw new WaybillError("internal", `no wish: ${name}`);
  return (await store.apply(room, job, { type: "wish", wish: { id, name, by } })).doc;
}

function isOutOfReach(error: unknown): boolean {
  return (
    error instanceof WaybillError && (error.code === "unreachable" || error.code === "timeout")
  );
}

function whyNotQueued(name: Command["name"], { resume }: JobDoc): string {
  if (name === "adjust")
    return "it begins with the config it was submitted with; adjust it when it runs";
  if (name === "stop" && resume !== undefined) {
    return "it waits to go on from its checkpoint; cancel ends it, and stop works when it runs again";
  }
  return "only cancel applies";
}

function notApplicable(doc: JobDoc, name: string, why: string): WaybillError {
  return new WaybillError("conflict", `cannot ${name} job ${doc.job}: it is ${doc.state}`, {
    hint: why,
  });
}

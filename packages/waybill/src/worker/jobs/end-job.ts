// The outcome: last event of the log, told to viewers only after the hub has stored it.
import { type JobAssignment, type JobEvent, WaybillError, messageOf } from "@waybill/sdk/protocol";
import { abortReason, delay } from "@waybill/sdk/timing";
import { isStaleOrGone } from "../errors.ts";
import type { RunContext, RunParts } from "./run-parts.ts";
import type { End } from "./run-types.ts";
import { MAX_REASON } from "./training.ts";

export type EndJobInit = {
  readonly context: RunContext;
  readonly parts: RunParts;
  readonly assignment: JobAssignment;
  readonly end: End;
  readonly signal: AbortSignal;
};

/** Answers in a row that say that what is told contradicts what is stored; one may be a race of two hubs. */
const CONTRADICTIONS = 3;

/**
 * Whether the outcome is stored; `false` when the attempt is no longer the job's, or when its log and the room's contradict
 * each other for good: then its lease is let go and the hub gives the job to somebody. Otherwise tries for ever.
 */
export async function endJob(init: EndJobInit): Promise<boolean> {
  const { parts, end } = init;
  const { events, journal, metrics } = parts;
  // A sample that comes after the seal is dropped: an outcome waits for no driver.
  metrics.end();
  if (!events.sealed) {
    const worker = init.context.workerId();
    events.seal({
      type: "state",
      state: end.outcome,
      ...(end.reason === undefined ? {} : { reason: end.reason }),
      ...(end.exitCode === undefined ? {} : { exitCode: end.exitCode }),
      ...(worker === undefined ? {} : { worker }),
    });
  }
  // Not waited for: a log whose last event is the outcome says the same to a restarted daemon.
  journal.update({ stage: "ending", end }).catch((error: unknown) => {
    init.context.log("warn", `${init.assignment.job}: cannot note its end: ${messageOf(error)}`);
  });
  for (let contradictions = 0; ;) {
    try {
      await tell(init);
      events.release();
      return true;
    } catch (error) {
      if (init.signal.aborted) throw abortReason(init.signal);
      if (isStaleOrGone(error)) return false;
      init.context.log("error", `${init.assignment.job}: cannot end it: ${messageOf(error)}`);
      contradictions = contradicts(error) ? contradictions + 1 : 0;
      if (contradictions === CONTRADICTIONS) {
        await giveUp(init);
        return false;
      }
      // Trying again at once does not mend it (a token that ran out, say).
      await delay(init.context.timing.endAgainMs, init.signal);
    }
  }
}

/** What is retryable has been tried again already. */
function contradicts(error: unknown): boolean {
  return error instanceof WaybillError && (error.code === "conflict" || error.code === "internal");
}

async function giveUp({ context, parts, assignment }: EndJobInit): Promise<void> {
  const { job, attempt } = assignment;
  await parts.lease.stop();
  const why = "the room's log of it differs from the one here (was the power lost?)";
  context.log("error", `${job}: attempt ${attempt} is given up: ${why}`);
}

async function tell({ context, parts, assignment, end, signal }: EndJobInit): Promise<void> {
  const { room, job, attempt } = assignment;
  const events = await parts.flusher.finish(signal);
  if (events.length === 0) {
    throw new WaybillError("internal", `${job}: its outcome is not in its log`);
  }
  await context.hub.call(
    "endJob",
    {
      params: { room, job },
      body: {
        attempt,
        state: end.outcome,
        ...(end.reason === undefined ? {} : { reason: end.reason }),
        ...(end.model === undefined ? {} : { model: end.model }),
        events,
      },
    },
    { signal, retryForMs: Number.POSITIVE_INFINITY },
  );
}

/** Ends an accepted attempt that has no spool (no space, say): all it ever tells is this. */
export async function failUnbegun(
  { hub, now }: Pick<RunContext, "hub" | "now">,
  { room, job, attempt, firstSeq }: JobAssignment,
  error: unknown,
): Promise<void> {
  const state = "failed";
  const reason = `the worker could not begin: ${messageOf(error)}`.slice(0, MAX_REASON);
  const time = new Date(now()).toISOString();
  const events: JobEvent[] = [{ type: "state", state, reason, seq: firstSeq, time, attempt }];
  await hub.call("endJob", { params: { room, job }, body: { attempt, state, reason, events } });
}

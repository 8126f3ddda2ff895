// Where a restarted daemon goes on with a job it finds in its spool.
//
//   preparing            begin again: no trainer has run
//   training             the trainer runs: watch it again, as if nothing had happened
//                        it has ended and left its status: read what it printed, go on as if it had just ended
//                        it is gone without a status: the attempt is interrupted
//   publishing, ending   go on: the training itself is over
import * as v from "valibot";
import { isTerminal } from "@waybill/sdk/protocol";
import type { EventLog } from "../events/event-log.ts";
import { readStatus } from "../trainers/launcher.ts";
import { findByArgument, processStartId } from "../trainers/proc.ts";
import { isRunning, killOrphan } from "../trainers/trainer-process.ts";
import { type LoggedSteps, readLoggedSteps, unanswered } from "./logged-steps.ts";
import { type NotedExit, Outcome, type RunRecord } from "./run-journal.ts";
import { ack, ended, finish, rejectAll } from "./run-steps.ts";
import type { Ending, RunEffect, RunState, Step, Waiting } from "./run-types.ts";
import type { SpoolPaths } from "./spool.ts";

/** What became of a trainer that a former daemon started. */
export type LeftTrainer =
  | { readonly type: "running"; readonly pid: number; readonly startId: string }
  | { readonly type: "over"; readonly exit: NotedExit }
  | { readonly type: "lost"; readonly reason: string };

export type Recovery = {
  readonly state: RunState;
  /** What to perform first. */
  readonly effects: readonly RunEffect[];
  /** In phases `training` and `ending`: what to watch or read before anything else. */
  readonly trainer?: LeftTrainer;
  readonly logged: LoggedSteps;
};

/** Reads where a job stands. */
export async function recover(
  record: RunRecord,
  events: EventLog,
  paths: SpoolPaths,
): Promise<Recovery> {
  const logged = await readLoggedSteps(events);
  const written = outcomeIn(logged);
  if (written !== undefined) {
    events.resealLast();
    return { ...finish(written), logged };
  }
  switch (record.stage) {
    case "preparing":
      return { ...preparingAgain(logged), logged };
    case "training": {
      const trainer = await findTrainer(record, paths);
      const ending =
        (trainer.type === "over" ? trainer.exit.ending : undefined) ?? endingOf(record, logged);
      return { ...trainingAgain(ending, logged), trainer, logged };
    }
    case "publishing":
      return { ...publishingAgain(record, logged), logged };
    default: {
      const { outcome, reason, exitCode, model } = record.end ?? {
        outcome: "failed",
        reason: "worker restarted",
      };
      const end = {
        outcome,
        ...(reason === undefined ? {} : { reason }),
        ...(exitCode === undefined ? {} : { exitCode }),
        ...(model === undefined ? {} : { model }),
      };
      return { ...finish(end, rejectAll(unanswered(logged), "the job has ended")), logged };
    }
  }
}

function preparingAgain(logged: LoggedSteps): Step {
  const waiting = unanswered(logged);
  const ending = wantedEnd(waiting);
  if (ending !== undefined)
    return ended({ phase: "ending", ending, launched: false, waiting }, undefined);
  const paused = logged.state === "paused";
  return { state: { phase: "preparing", ready: false, paused, waiting }, effects: [] };
}

/** What was asked of the trainer and not answered is asked again, but for lines it may have read. */
function trainingAgain(ending: Ending | undefined, logged: LoggedSteps): Step {
  const waiting = unanswered(logged);
  const told = waiting.filter(({ name }) => name === "adjust" || name === "checkpoint");
  const answers = told.map((command) => ({ type: "await", command }) as const);
  if (ending !== undefined) {
    return { state: { phase: "ending", ending, launched: true, waiting }, effects: answers };
  }
  const turns = waiting.flatMap(({ name }) =>
    name === "pause" || name === "resume" ? [{ type: name } as const] : [],
  );
  const paused = logged.state === "paused";
  return { state: { phase: "training", paused, waiting }, effects: [...turns, ...answers] };
}

function publishingAgain(record: RunRecord, logged: LoggedSteps): Step {
  const committed = record.artifact !== undefined || logged.published !== undefined;
  const { mine: cancels, others } = byName(unanswered(logged), "cancel");
  const late = rejectAll(others, "training has already ended");
  if (cancels.length > 0 && !committed) {
    return finish({ outcome: "cancelled" }, [
      ...late,
      ...cancels.map((one) => ack(one, "applied")),
    ]);
  }
  return {
    state: { phase: "publishing", committed },
    effects: [
      ...late,
      ...rejectAll(cancels, "the model is being entered in the registry"),
      { type: "publish", stoppedEarly: record.result?.stoppedEarly ?? false },
    ],
  };
}

/** Why the trainer was being ended; an end that was received and not noted yet counts, too. */
function endingOf(record: RunRecord, logged: LoggedSteps): Ending | undefined {
  return record.ending?.why ?? wantedEnd(unanswered(logged));
}

function wantedEnd(waiting: readonly Waiting[]): "stop" | "cancel" | undefined {
  if (waiting.some(({ name }) => name === "cancel")) return "cancel";
  return waiting.some(({ name }) => name === "stop") ? "stop" : undefined;
}

function byName(waiting: readonly Waiting[], name: Waiting["name"]) {
  return {
    mine: waiting.filter((one) => one.name === name),
    others: waiting.filter((one) => one.name !== name),
  };
}

async function findTrainer(record: RunRecord, paths: SpoolPaths): Promise<LeftTrainer> {
  const left = record.trainer ?? (await findLauncher(paths));
  // Asked first: what runs now may have ended and left its status by the time that is read.
  const runs = left !== undefined && (await isRunning(left.pid, left.startId));
  const exit = record.exit ?? (await readStatus(paths.status));
  if (exit === undefined && runs) return { type: "running", ...left };
  // Helpers it left behind, or a launcher that was just about to end.
  if (left !== undefined) await killOrphan(left.pid, left.startId);
  if (exit !== undefined) return { type: "over", exit };
  const reason =
    left === undefined
      ? "the worker was killed while it started the trainer"
      : "the trainer was gone, without an exit status, when its worker came back";
  return { type: "lost", reason };
}

/** Ends what runs of an attempt that nobody goes on with. */
export async function killLeft(record: RunRecord, paths: SpoolPaths): Promise<void> {
  const left = record.trainer ?? (await findLauncher(paths));
  if (left !== undefined) await killOrphan(left.pid, left.startId);
}

/** A launcher whose process id its daemon had no time to note. */
async function findLauncher({ status }: SpoolPaths): Promise<RunRecord["trainer"]> {
  const pid = await findByArgument(status);
  const startId = pid === undefined ? undefined : await processStartId(pid);
  return pid === undefined || startId === undefined ? undefined : { pid, startId };
}

/** The outcome a log ends with, and the model it was published as; the job's document may not know of it yet. */
function outcomeIn({ last, published }: LoggedSteps) {
  if (last?.type !== "state" || !isTerminal(last.state)) return undefined;
  const outcome = v.parse(Outcome, last.state);
  return {
    outcome,
    ...(last.reason === undefined ? {} : { reason: last.reason }),
    ...(last.exitCode === undefined ? {} : { exitCode: last.exitCode }),
    ...(outcome === "completed" && published !== undefined ? { model: published.model } : {}),
  };
}

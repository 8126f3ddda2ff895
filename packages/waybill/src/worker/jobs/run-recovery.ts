// Where a restarted daemon goes on with a job it finds in its spool.
//
//   preparing            begin again: no trainer has run
//   training             its end was noted: read what it printed, go on as if it had just ended
//                        it was not: the trainer was a child of the dead daemon; end it, fail the job
//   publishing, ending   go on: the training itself is over
import * as v from "valibot";
import { type JobEvent, isTerminal } from "@waybill/sdk/protocol";
import type { EventLog } from "../events/event-log.ts";
import { killOrphan } from "../trainers/trainer-process.ts";
import { type NotedExit, Outcome, type RunRecord } from "./run-journal.ts";
import { type End, INITIAL, type RunEffect, type RunState } from "./run-types.ts";

export type Recovery = {
  readonly state: RunState;
  /** The trainer's end, when that was all the former daemon noted: its output is to be read first. */
  readonly exit?: NotedExit;
  /** What to perform first; nothing when preparation begins again. */
  readonly effects: readonly RunEffect[];
  /** Steps a former daemon has already told the log. */
  readonly told: ReadonlySet<JobEvent["type"]>;
};

/** Events at the end of a log among which its last steps are looked for. */
const TAIL_EVENTS = 512;

/** Reads where a job stands; kills a trainer that outlived its daemon. */
export async function recover(record: RunRecord, events: EventLog): Promise<Recovery> {
  const tail = await events.read(events.lastSeq - TAIL_EVENTS, TAIL_EVENTS);
  const told = new Set(tail.map(({ type }) => type));
  const written = outcomeIn(tail);
  if (written !== undefined) {
    events.resealLast();
    return finishing(written, told);
  }
  switch (record.stage) {
    case "preparing":
      return { state: INITIAL, effects: [], told };
    case "training": {
      if (record.trainer !== undefined) {
        await killOrphan(record.trainer.pid, record.trainer.startId);
      }
      if (record.exit !== undefined) {
        return { state: trainingUntil(record.exit), exit: record.exit, effects: [], told };
      }
      const reason = "worker restarted while the trainer was running";
      return finishing({ outcome: "failed", reason }, told);
    }
    case "publishing": {
      const stoppedEarly = record.result?.stoppedEarly ?? false;
      return {
        state: { phase: "publishing", committed: record.artifact !== undefined },
        effects: [{ type: "publish", stoppedEarly }],
        told,
      };
    }
    default: {
      const { outcome, reason, exitCode, model } = record.end ?? {
        outcome: "failed",
        reason: "worker restarted",
      };
      return finishing(
        {
          outcome,
          ...(reason === undefined ? {} : { reason }),
          ...(exitCode === undefined ? {} : { exitCode }),
          ...(model === undefined ? {} : { model }),
        },
        told,
      );
    }
  }
}

/** Where the machine was when the trainer ended; whoever asked for it has been answered by nobody, and asks again. */
function trainingUntil({ ending }: NotedExit): RunState {
  return ending === undefined
    ? { phase: "training", paused: false, waiting: [] }
    : { phase: "ending", ending, launched: true, waiting: [] };
}

function finishing(end: End, told: Recovery["told"]): Recovery {
  return { state: { phase: "finishing", end }, effects: [{ type: "end", end }], told };
}

/** The outcome a log ends with, and the model it was published as; the job's document may not know of it yet. */
function outcomeIn(tail: readonly JobEvent[]): End | undefined {
  const last = tail.at(-1);
  if (last?.type !== "state" || !isTerminal(last.state)) return undefined;
  const outcome = v.parse(Outcome, last.state);
  const published = tail.findLast((event) => event.type === "published");
  return {
    outcome,
    ...(last.reason === undefined ? {} : { reason: last.reason }),
    ...(last.exitCode === undefined ? {} : { exitCode: last.exitCode }),
    ...(outcome === "completed" && published !== undefined ? { model: published.model } : {}),
  };
}

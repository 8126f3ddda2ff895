// Where a restarted daemon goes on with a job it finds in its spool.
//
//   preparing            begin again: no trainer has run
//   training             the trainer was this process's child: end it, end the job as failed
//   publishing, ending   go on: the training itself is over
import * as v from "valibot";
import { type JobEvent, isTerminal } from "@waybill/sdk/protocol";
import type { EventLog } from "../events/event-log.ts";
import { killOrphan } from "../trainers/trainer-process.ts";
import { Outcome, type RunRecord } from "./run-journal.ts";
import { type End, INITIAL, type RunEffect, type RunState } from "./run-types.ts";

export type Recovery = {
  readonly state: RunState;
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

// Where a restarted daemon goes on with a job it finds in its spool.
//
//   preparing            begin again: no trainer has run
//   training             the trainer was this process's child: end it, end the job as failed
//   publishing, ending   go on: the training itself is over
import type { JobEvent } from "@waybill/sdk/protocol";
import type { EventLog } from "../events/event-log.ts";
import { killOrphan } from "../trainers/trainer-process.ts";
import type { RunRecord } from "./run-journal.ts";
import { INITIAL, type RunEffect, type RunState } from "./run-types.ts";

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
  switch (record.stage) {
    case "preparing":
      return { state: INITIAL, effects: [], told };
    case "training": {
      if (record.trainer !== undefined) {
        await killOrphan(record.trainer.pid, record.trainer.startId);
      }
      const end = {
        outcome: "failed",
        reason: "worker restarted while the trainer was running",
      } as const;
      return { state: { phase: "finishing", end }, effects: [{ type: "end", end }], told };
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
      const found = record.end ?? { outcome: "failed", reason: "worker restarted" };
      const end = {
        outcome: found.outcome,
        ...(found.reason === undefined ? {} : { reason: found.reason }),
        ...(found.exitCode === undefined ? {} : { exitCode: found.exitCode }),
        ...(found.model === undefined ? {} : { model: found.model }),
      };
      const last = tail.at(-1);
      if (last?.type === "state" && last.state === end.outcome) events.resealLast();
      return { state: { phase: "finishing", end }, effects: [{ type: "end", end }], told };
    }
  }
}

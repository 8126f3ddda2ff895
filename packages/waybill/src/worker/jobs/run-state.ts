// One attempt of a job on this worker, as a pure machine. The runner performs the effects and reports
// what happened; it decides nothing.
//
//   preparing ──prepared──▶ training ──exited 0──▶ publishing ──published──▶ finishing ──stored──▶ done
//       │                      │  └──exited ≠ 0─────────────────────────────────▲   ▲
//       │                      ├──shutdown──▶ leaving (run-leaving.ts) ──▶ ending
//       └──stop, cancel, …──▶ ending ──ended (stop)──▶ publishing               │   │
//                                └──ended (cancel, shutdown)────────────────────┘   │
//   any ──revoked──▶ (ending) ──▶ done, with nothing published (I11)                │
//   publishing ──cancel──▶ aborting ──aborted──────────────────────────────────────┘
import { assertNever } from "@waybill/sdk/protocol";
import { answered } from "./run-answers.ts";
import { lastFlush, leaving } from "./run-leaving.ts";
import { command } from "./run-commands.ts";
import {
  ENDED_FIRST,
  ack,
  announce,
  dropped,
  ended,
  failure,
  finish,
  launch,
  leavePreparing,
  publish,
  rejectAll,
  split,
} from "./run-steps.ts";
import type { Ending, Grace, In, RunEvent, RunState, Step } from "./run-types.ts";

/** The machine. Events that mean nothing in a phase change nothing. */
export function next(state: RunState, event: RunEvent): Step {
  if (event.type === "command") return command(state, event);
  switch (state.phase) {
    case "preparing":
      return preparing(state, event);
    case "training":
      return training(state, event);
    case "leaving":
      return leaving(state, event);
    case "ending":
      return ending(state, event);
    case "publishing":
      return publishing(state, event);
    case "aborting":
      return aborting(state, event);
    case "finishing":
      if (event.type === "stored")
        return { state: { phase: "done", outcome: state.end.outcome }, effects: [] };
      return event.type === "revoked" ? dropped([]) : { state, effects: [] };
    case "done":
      return { state, effects: [] };
    default:
      return assertNever(state);
  }
}

type Fact = Exclude<RunEvent, { type: "command" }>;

function preparing(state: In<"preparing">, event: Fact): Step {
  if (event.type === "prepared") {
    return state.paused ? { state: { ...state, ready: true }, effects: [] } : launch(state.waiting);
  }
  if (event.type === "prepare.failed") {
    return finish(
      { outcome: "failed", reason: event.reason },
      rejectAll(state.waiting, "the trainer was not started"),
    );
  }
  if (event.type === "shutdown") return leavePreparing(state, "shutdown", []);
  if (event.type === "disk.low") return leavePreparing(state, "space", []);
  if (event.type === "revoked") return leavePreparing(state, "revoke", []);
  return { state, effects: [] };
}

function training(state: In<"training">, event: Fact): Step {
  switch (event.type) {
    case "launched":
      return { state, effects: [{ type: "announce", state: "running" }] };
    case "launch.failed":
      return finish(
        { outcome: "failed", reason: event.reason },
        rejectAll(state.waiting, "the trainer could not be started"),
      );
    case "signalled": {
      const paused = event.effect === "pause";
      const shown = paused === state.paused ? [] : [announce(paused ? "paused" : "running")];
      const { mine, others } = split(state.waiting, event.effect);
      return {
        state: { phase: "training", paused, waiting: others },
        effects: [...shown, ...mine.map((one) => ack(one, "applied"))],
      };
    }
    case "signal.failed": {
      const { mine, others } = split(state.waiting, event.effect);
      return { state: { ...state, waiting: others }, effects: rejectAll(mine, event.reason) };
    }
    case "adjusted":
    case "checkpointed":
    case "tell.failed":
    case "unanswered":
      return answered(state, event);
    case "lost":
      return {
        state: {
          phase: "leaving",
          step: "flushing",
          end: { outcome: "interrupted", reason: event.reason },
          waiting: state.waiting,
        },
        effects: [{ type: "flush" }],
      };
    case "exited": {
      const late = rejectAll(state.waiting, ENDED_FIRST);
      if (event.ok) return publish(false, late);
      return finish(failure(event), late);
    }
    case "shutdown":
      if (event.saves) {
        return {
          state: { phase: "leaving", step: "asking", waiting: state.waiting },
          effects: [announce("stopping"), { type: "save" }],
        };
      }
      return endTraining(state, event.type);
    case "disk.low":
    case "revoked":
      return endTraining(state, event.type);
    default:
      return { state, effects: [] };
  }
}

function endTraining(state: In<"training">, event: keyof typeof ENDING_OF): Step {
  const why = ENDING_OF[event];
  return {
    state: { phase: "ending", ending: why, launched: true, waiting: state.waiting },
    effects: [
      ...(why === "revoke" ? [] : [announce("stopping")]),
      { type: "terminate", grace: graceOf(why) },
    ],
  };
}
const ENDING_OF = { shutdown: "shutdown", "disk.low": "space", revoked: "revoke" } as const;

/** How long a trainer has that is ended for this reason. */
export function graceOf(why: Ending): Grace {
  return why === "stop" || why === "shutdown" ? why : "cancel";
}

function ending(state: In<"ending">, event: Fact): Step {
  switch (event.type) {
    case "exited":
      return state.ending === "shutdown" ? lastFlush(state, event.exitCode) : ended(state, event);
    case "lost":
      return state.ending === "shutdown" ? lastFlush(state, undefined) : ended(state, undefined);
    case "adjusted":
    case "checkpointed":
    case "tell.failed":
    case "unanswered":
      return answered(state, event);
    case "prepared":
    case "prepare.failed":
    case "prepare.stopped":
      return state.launched ? { state, effects: [] } : ended(state, undefined);
    case "launch.failed":
      return state.ending === "stop"
        ? finish(
            { outcome: "failed", reason: event.reason },
            rejectAll(state.waiting, "the trainer could not be started"),
          )
        : ended(state, undefined);
    case "signalled":
    case "signal.failed": {
      // A pause that took effect just before the end, or never will: SIGTERM has overtaken it.
      const { mine, others } = split(state.waiting, event.effect);
      return {
        state: { ...state, waiting: others },
        effects: rejectAll(mine, "the job is being ended"),
      };
    }
    case "revoked":
      if (state.ending === "revoke") return { state, effects: [] };
      return {
        state: { ...state, ending: "revoke" },
        effects: state.launched ? [{ type: "terminate", grace: "cancel" }] : [],
      };
    default:
      return { state, effects: [] };
  }
}

function publishing(state: In<"publishing">, event: Fact): Step {
  switch (event.type) {
    case "committing":
      return { state: { ...state, committed: true }, effects: [] };
    case "published":
      return finish({ outcome: "completed", model: event.model });
    case "publish.failed":
      return finish({ outcome: "failed", reason: event.reason });
    case "publish.aborted":
      return finish({ outcome: "failed", reason: "publishing was broken off" });
    case "revoked":
      return {
        state: { phase: "aborting", ending: "revoke", waiting: [] },
        effects: [{ type: "abort.publish" }],
      };
    default:
      // A shutdown lets publishing go on: the daemon waits for it, or a restarted one resumes it.
      return { state, effects: [] };
  }
}

function aborting(state: In<"aborting">, event: Fact): Step {
  switch (event.type) {
    case "publish.aborted":
    case "publish.failed":
      if (state.ending === "revoke") {
        return dropped(rejectAll(state.waiting, "the job was taken from this worker"));
      }
      return finish(
        { outcome: "cancelled" },
        state.waiting.map((one) => ack(one, "applied")),
      );
    case "published":
      if (state.ending === "revoke") return dropped([]);
      return finish(
        { outcome: "completed", model: event.model },
        rejectAll(state.waiting, "the model was published first"),
      );
    case "revoked":
      return { state: { ...state, ending: "revoke" }, effects: [] };
    default:
      return { state, effects: [] };
  }
}

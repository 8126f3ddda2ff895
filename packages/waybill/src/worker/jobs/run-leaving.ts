// What a worker that may vanish any minute does with a running job when it is told to go: the trainer is asked for a
// checkpoint, the newest is brought to the room, and only then is the trainer ended. All of it fits the 30 s that
// orchestrators give (trainer.md §9).
//
//   asking ──checkpoint printed, or time over──▶ flushing ──flushed──▶ ending (shutdown) ──trainer ended──┐
//      └──trainer ended──▶ flushing, the trainer gone ──flushed──▶ finishing (interrupted)                │
//                              ▲──────────────────────────────────────────────────────────────────────────┘
import { answered } from "./run-answers.ts";
import { dropped, finish, rejectAll, split, ENDED_FIRST } from "./run-steps.ts";
import type { End, In, RunEvent, Step } from "./run-types.ts";

/** The step of a job whose worker goes. */
export function leaving(state: In<"leaving">, event: Exclude<RunEvent, { type: "command" }>): Step {
  switch (event.type) {
    case "checkpointed": {
      const step = answered(state, event);
      const { waiting } = step.state as In<"leaving">;
      const on = flush({ ...state, waiting });
      return { state: on.state, effects: [...step.effects, ...on.effects] };
    }
    case "adjusted":
    case "tell.failed":
    case "unanswered":
      return answered(state, event);
    case "save.over":
      return flush(state);
    case "exited":
      return flush({ ...state, end: goneWith(event.exitCode) });
    case "lost":
    case "launch.failed":
      return flush({ ...state, end: goneWith(undefined) });
    case "flushed":
      if (state.step !== "flushing") return { state, effects: [] };
      if (state.end !== undefined) return finish(state.end, rejectAll(state.waiting, ENDED_FIRST));
      return {
        state: { phase: "ending", ending: "shutdown", launched: true, waiting: state.waiting },
        effects: [{ type: "terminate", grace: "shutdown" }],
      };
    case "signalled":
    case "signal.failed": {
      const { mine, others } = split(state.waiting, event.effect);
      return {
        state: { ...state, waiting: others },
        effects: rejectAll(mine, "the job is being ended"),
      };
    }
    case "revoked":
      if (state.end !== undefined) {
        return dropped(rejectAll(state.waiting, "the job was taken from this worker"));
      }
      return {
        state: { phase: "ending", ending: "revoke", launched: true, waiting: state.waiting },
        effects: [{ type: "terminate", grace: "cancel" }],
      };
    default:
      return { state, effects: [] };
  }
}

/** The trainer has ended: what it wrote last, on SIGTERM, is worth more than all before. */
export function lastFlush(
  { waiting }: Pick<In<"leaving">, "waiting">,
  exitCode: number | undefined,
): Step {
  return flush({ phase: "leaving", step: "asking", end: goneWith(exitCode), waiting });
}

/** An exit with 0, too: whoever told the worker to go may have told the trainer. */
function goneWith(exitCode: number | undefined): End {
  return {
    outcome: "interrupted",
    reason: "the worker was shut down",
    ...(exitCode === undefined ? {} : { exitCode }),
  };
}

function flush(state: In<"leaving">): Step {
  return state.step === "flushing"
    ? { state, effects: [] }
    : { state: { ...state, step: "flushing" }, effects: [{ type: "flush" }] };
}

// What a trainer's answer, or its silence, means for those who asked for an adjustment or a checkpoint.
import { assertNever } from "@waybill/sdk/protocol";
import { ack } from "./run-steps.ts";
import type { In, RunEvent, Step, Waiting } from "./run-types.ts";

type Answer = Extract<
  RunEvent,
  { type: "adjusted" | "checkpointed" | "tell.failed" | "unanswered" }
>;

type Telling = In<"training"> | In<"ending"> | In<"leaving">;

/** The step an answer makes while the trainer runs. */
export function answered(state: Telling, event: Answer): Step {
  switch (event.type) {
    case "adjusted": {
      const asked = state.waiting.filter(({ name }) => name === "adjust");
      const one = event.id === undefined ? asked[0] : asked.find(({ id }) => id === event.id);
      if (one === undefined) return { state, effects: [] };
      return without(state, [one], (mine) => ack(mine, "applied", undefined, event.values));
    }
    case "checkpointed": {
      const asked = state.waiting.filter(({ name }) => name === "checkpoint");
      const what = event.path === undefined ? undefined : `the trainer wrote ${event.path}`;
      return without(state, asked, (one) => ack(one, "applied", what));
    }
    case "tell.failed": {
      const asked = state.waiting.filter(({ id }) => id === event.id);
      return without(state, asked, (one) => ack(one, "rejected", event.reason));
    }
    case "unanswered": {
      const one = state.waiting.find(({ id }) => id === event.id);
      if (one === undefined) return { state, effects: [] };
      // A frozen trainer answers when it runs again.
      if (state.phase === "training" && state.paused) {
        return { state, effects: [{ type: "await", command: one }] };
      }
      const within = `within ${Math.round(event.afterMs / 1000)} s`;
      return without(state, [one], (mine) =>
        ack(mine, "rejected", `the trainer did not ${wanted(mine)} ${within}`),
      );
    }
    default:
      return assertNever(event);
  }
}

function wanted({ name }: Waiting): string {
  return name === "adjust"
    ? 'print {"adjusted": {…}}, as one that takes new values must,'
    : 'print {"type": "checkpoint", "path": …}';
}

function without(
  state: Telling,
  those: readonly Waiting[],
  answer: (one: Waiting) => Step["effects"][number],
): Step {
  if (those.length === 0) return { state, effects: [] };
  const waiting = state.waiting.filter((one) => !those.includes(one));
  return { state: { ...state, waiting }, effects: those.map(answer) };
}

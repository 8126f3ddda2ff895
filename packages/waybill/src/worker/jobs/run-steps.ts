// Steps that more than one phase of the job machine takes.
import { type CommandName, assertNever } from "@waybill/sdk/protocol";
import type { End, Ending, In, RunEffect, RunEvent, Step, Waiting } from "./run-types.ts";

export function launch(waiting: readonly Waiting[]): Step {
  return {
    state: { phase: "training", paused: false, waiting },
    effects: [
      { type: "launch" },
      ...waiting.map((command) => ({ type: "tell", command }) as const),
    ],
  };
}

/** Preparation that is under way is called off first; one that waits for `resume` just ends. */
export function leavePreparing(
  state: In<"preparing">,
  why: Ending,
  waiting: readonly Waiting[],
  before: readonly RunEffect[] = [],
): Step {
  const over: In<"ending"> = {
    phase: "ending",
    ending: why,
    launched: false,
    waiting: [...state.waiting, ...waiting],
  };
  if (!state.ready) return { state: over, effects: [...before, { type: "abort.prepare" }] };
  const step = ended(over, undefined);
  return { state: step.state, effects: [...before, ...step.effects] };
}

/** Nothing of the trainer runs any more: what was asked for has happened. */
export function ended(
  state: In<"ending">,
  exit: Extract<RunEvent, { type: "exited" }> | undefined,
): Step {
  const { mine, others } = split(state.waiting, state.ending);
  const acks = [
    ...mine.map((one) => ack(one, "applied")),
    ...rejectAll(others, state.launched ? ENDED_FIRST : "the trainer was not started"),
  ];
  switch (state.ending) {
    case "stop":
      if (state.launched) return publish(true, acks);
      return finish({ outcome: "cancelled", reason: "stopped before the trainer started" }, acks);
    case "cancel":
      return finish({ outcome: "cancelled", ...codeOf(exit) }, acks);
    case "shutdown":
      return finish(
        { outcome: "interrupted", reason: "the worker was shut down", ...codeOf(exit) },
        acks,
      );
    case "space":
      return finish(
        { outcome: "failed", reason: "the worker's disk is nearly full", ...codeOf(exit) },
        acks,
      );
    case "revoke":
      return dropped(rejectAll(state.waiting, "the job was taken from this worker"));
    default:
      return assertNever(state.ending);
  }
}

export function publish(stoppedEarly: boolean, before: readonly RunEffect[]): Step {
  return {
    state: { phase: "publishing", committed: false },
    effects: [...before, { type: "publish", stoppedEarly }],
  };
}

export function finish(end: End, before: readonly RunEffect[] = []): Step {
  return { state: { phase: "finishing", end }, effects: [...before, { type: "end", end }] };
}

export function dropped(before: readonly RunEffect[]): Step {
  return { state: { phase: "done", outcome: "dropped" }, effects: [...before, { type: "drop" }] };
}

export function failure(exit: Extract<RunEvent, { type: "exited" }>): End {
  return { outcome: "failed", reason: exit.reason, ...codeOf(exit) };
}

function codeOf(exit: Extract<RunEvent, { type: "exited" }> | undefined): {
  exitCode?: number;
} {
  return exit?.exitCode === undefined ? {} : { exitCode: exit.exitCode };
}

/** Why what was still asked of a trainer will not happen. */
export const ENDED_FIRST = "the trainer ended first";

export function announce(state: "running" | "paused" | "stopping"): RunEffect {
  return { type: "announce", state };
}

export function ack(
  one: Waiting,
  stage: "received" | "applied" | "rejected",
  message?: string,
  values?: Readonly<Record<string, unknown>>,
): RunEffect {
  return {
    type: "ack",
    command: one,
    stage,
    ...(message === undefined ? {} : { message }),
    ...(values === undefined ? {} : { values }),
  };
}

export function rejectAll(waiting: readonly Waiting[], why: string): RunEffect[] {
  return waiting.map((one) => ack(one, "rejected", why));
}

export function split(waiting: readonly Waiting[], name: CommandName | Ending) {
  return {
    mine: waiting.filter((one) => one.name === name),
    others: waiting.filter((one) => one.name !== name),
  };
}

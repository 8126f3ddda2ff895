// What pause, resume, stop and cancel mean in each phase of a job. Every command is acknowledged as received
// and later as applied or rejected, or rejected at once (docs/protocol/events.md §7).
import { assertNever } from "@waybill/sdk/protocol";
import {
  ENDED_FIRST,
  ack,
  announce,
  finish,
  launch,
  leavePreparing,
  rejectAll,
  split,
} from "./run-steps.ts";
import type { Ending, In, RunEffect, RunEvent, RunState, Step, Waiting } from "./run-types.ts";

/** The step a command makes. */
export function command(
  state: RunState,
  { id, name, values, deaf = false }: Extract<RunEvent, { type: "command" }>,
): Step {
  const one: Waiting = { id, name, ...(values === undefined ? {} : { values }) };
  const received = ack(one, "received", undefined, values);
  // Refused at once: whoever asked through the hub is told so in its answer.
  const reject = (message: string): Step => ({ state, effects: [ack(one, "rejected", message)] });
  const already = (message?: string): Step => ({
    state,
    effects: [received, ack(one, "applied", message)],
  });
  if (deaf && (name === "adjust" || name === "checkpoint")) return reject(DEAF);
  switch (state.phase) {
    case "preparing":
      return commandPreparing(state, one, received, already);
    case "training":
      return commandTraining(state, one, received, already);
    case "leaving":
      if (name === "resume") return already("the job is being ended");
      if (name !== "cancel") return reject(BEING_ENDED.shutdown);
      if (state.end !== undefined) {
        const acks = [received, ...rejectAll(state.waiting, ENDED_FIRST), ack(one, "applied")];
        return finish({ outcome: "cancelled" }, acks);
      }
      return {
        state: {
          phase: "ending",
          ending: "cancel",
          launched: true,
          waiting: [...state.waiting, one],
        },
        effects: [received, { type: "terminate", grace: "cancel" }],
      };
    case "ending":
      if (name === "cancel" && state.ending === "cancel") {
        return { state: { ...state, waiting: [...state.waiting, one] }, effects: [received] };
      }
      if (name === "cancel" && state.ending !== "revoke") {
        const { mine: stops, others } = split(state.waiting, "stop");
        return {
          state: { ...state, ending: "cancel", waiting: [...others, one] },
          effects: [
            received,
            ...rejectAll(stops, "the job is being cancelled"),
            ...(state.launched ? [{ type: "terminate", grace: "cancel" } as const] : []),
          ],
        };
      }
      if (name === "stop" && state.ending === "stop") {
        return { state: { ...state, waiting: [...state.waiting, one] }, effects: [received] };
      }
      if (name === "resume") return already("the job is being ended");
      return reject(BEING_ENDED[state.ending]);
    case "publishing":
      if (name === "stop" || name === "resume") return already("training has already ended");
      if (name !== "cancel") return reject("training has already ended");
      if (state.committed) return reject("the model is being entered in the registry");
      return {
        state: { phase: "aborting", ending: "cancel", waiting: [one] },
        effects: [received, { type: "abort.publish" }],
      };
    case "aborting":
      if (name === "cancel" && state.ending === "cancel") {
        return { state: { ...state, waiting: [...state.waiting, one] }, effects: [received] };
      }
      return reject(BEING_ENDED[state.ending]);
    case "finishing":
      return reject(`the job has ended: ${state.end.outcome}`);
    case "done":
      return reject(`the job has ended: ${state.outcome}`);
    default:
      return assertNever(state);
  }
}

const DEAF =
  "the job asked for an empty standard input (stdin: empty): its trainer can be told nothing";

/** More than people ask for before the first is answered; a pipe of 64 KiB holds about as many lines. */
const MAX_WAITING = 64;
const TOO_MANY = `${MAX_WAITING} commands wait for the trainer already`;

/** Whoever asks does not wait for what may take hours. */
const WHEN_STARTED = "it takes effect when the trainer has started";
const WHEN_RESUMED = "it takes effect when the job is resumed";

function receivedFor(one: Waiting, when: string): RunEffect {
  return ack(one, "received", when, one.values);
}

const BEING_ENDED: Readonly<Record<Ending, string>> = {
  stop: "the job is being stopped",
  cancel: "the job is being cancelled",
  shutdown: "the worker is being shut down",
  space: "the job is being ended: the worker's disk is nearly full",
  revoke: "the job was taken from this worker",
};

function commandPreparing(
  state: In<"preparing">,
  one: Waiting,
  received: RunEffect,
  already: (message?: string) => Step,
): Step {
  switch (one.name) {
    case "pause":
      if (state.paused) return already();
      return {
        state: { ...state, paused: true },
        effects: [received, announce("paused"), ack(one, "applied")],
      };
    case "resume": {
      if (!state.paused) return already();
      if (!state.ready) {
        // The hub knows no way back from `paused` to `assigned`, and the job is being worked on again.
        const effects = [received, announce("running"), ack(one, "applied")];
        return { state: { ...state, paused: false }, effects };
      }
      const step = launch(state.waiting);
      return { state: step.state, effects: [received, ack(one, "applied"), ...step.effects] };
    }
    case "stop":
    case "cancel":
      return leavePreparing(state, one.name, [one], [received]);
    case "adjust":
    case "checkpoint": {
      if (state.waiting.length >= MAX_WAITING) {
        return { state, effects: [ack(one, "rejected", TOO_MANY)] };
      }
      const later = receivedFor(one, state.paused ? WHEN_RESUMED : WHEN_STARTED);
      return { state: { ...state, waiting: [...state.waiting, one] }, effects: [later] };
    }
    default:
      return assertNever(one.name);
  }
}

function commandTraining(
  state: In<"training">,
  one: Waiting,
  received: RunEffect,
  already: (message?: string) => Step,
): Step {
  const waiting = [...state.waiting, one];
  switch (one.name) {
    case "pause":
    case "resume": {
      const turning = state.waiting.findLast(({ name }) => name === "pause" || name === "resume");
      const wanted = turning === undefined ? state.paused : turning.name === "pause";
      if (turning === undefined && wanted === (one.name === "pause")) return already();
      return { state: { ...state, waiting }, effects: [received, { type: one.name }] };
    }
    case "stop":
    case "cancel":
      return {
        state: { phase: "ending", ending: one.name, launched: true, waiting },
        effects: [
          received,
          announce("stopping"),
          { type: "terminate", grace: one.name === "stop" ? "stop" : "cancel" },
        ],
      };
    case "adjust":
    case "checkpoint":
      if (waiting.length > MAX_WAITING) {
        return { state, effects: [ack(one, "rejected", TOO_MANY)] };
      }
      return {
        state: { ...state, waiting },
        effects: [
          state.paused ? receivedFor(one, WHEN_RESUMED) : received,
          { type: "tell", command: one },
        ],
      };
    default:
      return assertNever(one.name);
  }
}

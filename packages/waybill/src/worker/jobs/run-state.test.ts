import { array, assert, constantFrom, property } from "fast-check";
import { describe, expect, it } from "vitest";
import * as v from "valibot";
import { ModelId } from "@waybill/sdk/protocol";
import { next } from "./run-state.ts";
import { INITIAL, type RunEffect, type RunEvent, type RunState } from "./run-types.ts";

const model = v.parse(ModelId, "00112233");
const stop = { id: "s", name: "stop" } as const;
const cancel = { id: "x", name: "cancel" } as const;
const pause = { id: "p", name: "pause" } as const;

/** One state of each kind that behaves differently. A phase without a state here does not compile below. */
const STATES = {
  preparing: INITIAL,
  "preparing, paused": { phase: "preparing", ready: false, paused: true },
  "preparing, ready": { phase: "preparing", ready: true, paused: true },
  training: { phase: "training", paused: false, waiting: [] },
  "training, pausing": { phase: "training", paused: false, waiting: [pause] },
  "training, paused": { phase: "training", paused: true, waiting: [] },
  "ending, unlaunched": { phase: "ending", ending: "cancel", launched: false, waiting: [cancel] },
  "ending, stop": { phase: "ending", ending: "stop", launched: true, waiting: [stop] },
  "ending, cancel": { phase: "ending", ending: "cancel", launched: true, waiting: [cancel] },
  "ending, shutdown": { phase: "ending", ending: "shutdown", launched: true, waiting: [] },
  "ending, space": { phase: "ending", ending: "space", launched: true, waiting: [] },
  "ending, revoke": { phase: "ending", ending: "revoke", launched: true, waiting: [] },
  publishing: { phase: "publishing", committed: false },
  "publishing, committed": { phase: "publishing", committed: true },
  "aborting, cancel": { phase: "aborting", ending: "cancel", waiting: [cancel] },
  "aborting, revoke": { phase: "aborting", ending: "revoke", waiting: [] },
  finishing: { phase: "finishing", end: { outcome: "completed" } },
  done: { phase: "done", outcome: "completed" },
} as const satisfies Record<string, RunState>;
type StateName = keyof typeof STATES;
type Missing = Exclude<RunState["phase"], (typeof STATES)[StateName]["phase"]>;
const everyPhase: [Missing] extends [never] ? true : Missing = true;

const command = (name: "pause" | "resume" | "stop" | "cancel"): RunEvent => ({
  type: "command",
  id: "c",
  name,
});
const EVENTS = {
  prepared: { type: "prepared" },
  "prepare.failed": { type: "prepare.failed", reason: "r" },
  "prepare.stopped": { type: "prepare.stopped" },
  launched: { type: "launched" },
  "launch.failed": { type: "launch.failed", reason: "r" },
  pause: command("pause"),
  resume: command("resume"),
  stop: command("stop"),
  cancel: command("cancel"),
  "signalled pause": { type: "signalled", effect: "pause" },
  "signalled resume": { type: "signalled", effect: "resume" },
  "signal.failed": { type: "signal.failed", effect: "pause", reason: "r" },
  "exited 0": { type: "exited", ok: true, exitCode: 0, reason: "r" },
  "exited 1": { type: "exited", ok: false, exitCode: 1, reason: "r" },
  committing: { type: "committing" },
  published: { type: "published", model },
  "publish.failed": { type: "publish.failed", reason: "r" },
  "publish.aborted": { type: "publish.aborted" },
  stored: { type: "stored" },
  revoked: { type: "revoked" },
  "disk.low": { type: "disk.low" },
  shutdown: { type: "shutdown" },
} as const satisfies Record<string, RunEvent>;
type EventName = keyof typeof EVENTS;

function nameOf(state: RunState): string {
  switch (state.phase) {
    case "preparing":
      return `preparing${state.ready ? ", ready" : ""}${state.paused ? ", paused" : ""}`;
    case "training":
      return `training${state.paused ? ", paused" : ""}${waitingOf(state.waiting)}`;
    case "ending":
      return `ending, ${state.ending}${state.launched ? "" : ", unlaunched"}${waitingOf(state.waiting)}`;
    case "aborting":
      return `aborting, ${state.ending}${waitingOf(state.waiting)}`;
    case "publishing":
      return `publishing${state.committed ? ", committed" : ""}`;
    case "finishing":
      return `finishing, ${state.end.outcome}`;
    default:
      return `done, ${state.outcome}`;
  }
}

function waitingOf(waiting: readonly { readonly id: string }[]): string {
  return waiting.length === 0 ? "" : ` (${waiting.map(({ id }) => id).join(" ")})`;
}

function effectOf(effect: RunEffect): string {
  switch (effect.type) {
    case "ack":
      return `${effect.command.id} ${effect.stage}`;
    case "announce":
      return `say ${effect.state}`;
    case "terminate":
      return `terminate ${effect.grace}`;
    case "publish":
      return `publish${effect.stoppedEarly ? " early" : ""}`;
    case "end":
      return `end ${effect.end.outcome}`;
    default:
      return effect.type;
  }
}

function cell(state: RunState, event: RunEvent): string {
  const step = next(state, event);
  const same = JSON.stringify(step.state) === JSON.stringify(state);
  if (same && step.effects.length === 0) return "";
  return [same ? "same" : nameOf(step.state), ...step.effects.map((one) => effectOf(one))].join(
    " | ",
  );
}

/** What each event does; where nothing is said, nothing happens. `state after | effects`. */
const TABLE: Record<StateName, Partial<Record<EventName, string>>> = {
  preparing: {
    prepared: "training | launch",
    "prepare.failed": "finishing, failed | end failed",
    pause: "preparing, paused | c received | say paused | c applied",
    resume: "same | c received | c applied",
    stop: "ending, stop, unlaunched (c) | c received | abort.prepare",
    cancel: "ending, cancel, unlaunched (c) | c received | abort.prepare",
    revoked: "ending, revoke, unlaunched | abort.prepare",
    shutdown: "ending, shutdown, unlaunched | abort.prepare",
    "disk.low": "ending, space, unlaunched | abort.prepare",
  },
  "preparing, paused": {
    prepared: "preparing, ready, paused",
    "prepare.failed": "finishing, failed | end failed",
    pause: "same | c received | c applied",
    resume: "preparing | c received | say running | c applied",
    stop: "ending, stop, unlaunched (c) | c received | abort.prepare",
    cancel: "ending, cancel, unlaunched (c) | c received | abort.prepare",
    revoked: "ending, revoke, unlaunched | abort.prepare",
    shutdown: "ending, shutdown, unlaunched | abort.prepare",
    "disk.low": "ending, space, unlaunched | abort.prepare",
  },
  "preparing, ready": {
    "prepare.failed": "finishing, failed | end failed",
    pause: "same | c received | c applied",
    resume: "training | c received | c applied | launch",
    stop: "finishing, cancelled | c received | c applied | end cancelled",
    cancel: "finishing, cancelled | c received | c applied | end cancelled",
    revoked: "done, dropped | drop",
    shutdown: "finishing, interrupted | end interrupted",
    "disk.low": "finishing, failed | end failed",
  },
  training: {
    launched: "same | say running",
    "launch.failed": "finishing, failed | end failed",
    pause: "training (c) | c received | pause",
    resume: "same | c received | c applied",
    stop: "ending, stop (c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (c) | c received | say stopping | terminate cancel",
    "signalled pause": "training, paused | say paused",
    "exited 0": "publishing | publish",
    "exited 1": "finishing, failed | end failed",
    revoked: "ending, revoke | terminate cancel",
    shutdown: "ending, shutdown | say stopping | terminate shutdown",
    "disk.low": "ending, space | say stopping | terminate cancel",
  },
  "training, pausing": {
    launched: "same | say running",
    "launch.failed": "finishing, failed | p rejected | end failed",
    pause: "training (p c) | c received | pause",
    resume: "training (p c) | c received | resume",
    stop: "ending, stop (p c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (p c) | c received | say stopping | terminate cancel",
    "signalled pause": "training, paused | say paused | p applied",
    "signal.failed": "training | p rejected",
    "exited 0": "publishing | p rejected | publish",
    "exited 1": "finishing, failed | p rejected | end failed",
    revoked: "ending, revoke (p) | terminate cancel",
    shutdown: "ending, shutdown (p) | say stopping | terminate shutdown",
    "disk.low": "ending, space (p) | say stopping | terminate cancel",
  },
  "training, paused": {
    launched: "same | say running",
    "launch.failed": "finishing, failed | end failed",
    pause: "same | c received | c applied",
    resume: "training, paused (c) | c received | resume",
    stop: "ending, stop (c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (c) | c received | say stopping | terminate cancel",
    "signalled resume": "training | say running",
    "exited 0": "publishing | publish",
    "exited 1": "finishing, failed | end failed",
    revoked: "ending, revoke | terminate cancel",
    shutdown: "ending, shutdown | say stopping | terminate shutdown",
    "disk.low": "ending, space | say stopping | terminate cancel",
  },
  "ending, unlaunched": {
    prepared: "finishing, cancelled | x applied | end cancelled",
    "prepare.failed": "finishing, cancelled | x applied | end cancelled",
    "prepare.stopped": "finishing, cancelled | x applied | end cancelled",
    "launch.failed": "finishing, cancelled | x applied | end cancelled",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "ending, cancel, unlaunched (x c) | c received",
    "exited 0": "finishing, cancelled | x applied | end cancelled",
    "exited 1": "finishing, cancelled | x applied | end cancelled",
    revoked: "ending, revoke, unlaunched (x)",
  },
  "ending, stop": {
    "launch.failed": "finishing, failed | s rejected | end failed",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "ending, stop (s c) | c received",
    cancel: "ending, cancel (c) | c received | s rejected | terminate cancel",
    "exited 0": "publishing | s applied | publish early",
    "exited 1": "publishing | s applied | publish early",
    revoked: "ending, revoke (s) | terminate cancel",
  },
  "ending, cancel": {
    "launch.failed": "finishing, cancelled | x applied | end cancelled",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "ending, cancel (x c) | c received",
    "exited 0": "finishing, cancelled | x applied | end cancelled",
    "exited 1": "finishing, cancelled | x applied | end cancelled",
    revoked: "ending, revoke (x) | terminate cancel",
  },
  "ending, shutdown": {
    "launch.failed": "finishing, interrupted | end interrupted",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "ending, cancel (c) | c received | terminate cancel",
    "exited 0": "finishing, interrupted | end interrupted",
    "exited 1": "finishing, interrupted | end interrupted",
    revoked: "ending, revoke | terminate cancel",
  },
  "ending, space": {
    "launch.failed": "finishing, failed | end failed",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "ending, cancel (c) | c received | terminate cancel",
    "exited 0": "finishing, failed | end failed",
    "exited 1": "finishing, failed | end failed",
    revoked: "ending, revoke | terminate cancel",
  },
  "ending, revoke": {
    "launch.failed": "done, dropped | drop",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "same | c rejected",
    "exited 0": "done, dropped | drop",
    "exited 1": "done, dropped | drop",
  },
  publishing: {
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c received | c applied",
    cancel: "aborting, cancel (c) | c received | abort.publish",
    committing: "publishing, committed",
    published: "finishing, completed | end completed",
    "publish.failed": "finishing, failed | end failed",
    "publish.aborted": "finishing, failed | end failed",
    revoked: "aborting, revoke | abort.publish",
  },
  "publishing, committed": {
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c received | c applied",
    cancel: "same | c rejected",
    published: "finishing, completed | end completed",
    "publish.failed": "finishing, failed | end failed",
    "publish.aborted": "finishing, failed | end failed",
    revoked: "aborting, revoke | abort.publish",
  },
  "aborting, cancel": {
    pause: "same | c rejected",
    resume: "same | c rejected",
    stop: "same | c rejected",
    cancel: "aborting, cancel (x c) | c received",
    published: "finishing, completed | x rejected | end completed",
    "publish.failed": "finishing, cancelled | x applied | end cancelled",
    "publish.aborted": "finishing, cancelled | x applied | end cancelled",
    revoked: "aborting, revoke (x)",
  },
  "aborting, revoke": {
    pause: "same | c rejected",
    resume: "same | c rejected",
    stop: "same | c rejected",
    cancel: "same | c rejected",
    published: "done, dropped | drop",
    "publish.failed": "done, dropped | drop",
    "publish.aborted": "done, dropped | drop",
  },
  finishing: {
    pause: "same | c rejected",
    resume: "same | c rejected",
    stop: "same | c rejected",
    cancel: "same | c rejected",
    stored: "done, completed",
    revoked: "done, dropped | drop",
  },
  done: {
    pause: "same | c rejected",
    resume: "same | c rejected",
    stop: "same | c rejected",
    cancel: "same | c rejected",
  },
};

/** Plays events from the beginning; commands get ids of their own. */
function play(events: readonly RunEvent[]): { state: RunState; effects: RunEffect[] } {
  let state: RunState = INITIAL;
  const effects: RunEffect[] = [];
  for (const [i, event] of events.entries()) {
    const step = next(state, event.type === "command" ? { ...event, id: `c${i}` } : event);
    state = step.state;
    effects.push(...step.effects);
  }
  return { state, effects };
}

describe("the job machine", () => {
  it("covers every phase", () => {
    expect(everyPhase).toBe(true);
  });

  it.each(Object.keys(STATES) as StateName[])("goes on from %s as specified", (name) => {
    const happened = Object.entries(EVENTS).flatMap(([event, value]) => {
      const text = cell(STATES[name], value);
      return text === "" ? [] : [[event, text]];
    });
    expect(Object.fromEntries(happened)).toEqual(TABLE[name]);
  });

  const anyEvent = constantFrom(...Object.values(EVENTS));
  const anyRun = array(anyEvent, { maxLength: 40 });

  it("answers every command for good, exactly once, whatever happens", () => {
    assert(
      property(anyRun, (events) => {
        const { effects, state } = play(events);
        const final = new Map<string, number>();
        for (const effect of effects) {
          if (effect.type !== "ack" || effect.stage === "received") continue;
          final.set(effect.command.id, (final.get(effect.command.id) ?? 0) + 1);
        }
        expect([...final.values()].every((times) => times === 1)).toBe(true);
        const asked = events.filter(({ type }) => type === "command").length;
        const waiting = "waiting" in state ? state.waiting.length : 0;
        expect(final.size + waiting).toBe(asked);
      }),
    );
  });

  it("never publishes or ends twice, and nothing after a revocation has ended the run (I11)", () => {
    assert(
      property(anyRun, (events) => {
        const { effects } = play(events);
        const count = (type: RunEffect["type"]) =>
          effects.filter((one) => one.type === type).length;
        expect(count("launch")).toBeLessThanOrEqual(1);
        expect(count("publish")).toBeLessThanOrEqual(1);
        expect(count("end")).toBeLessThanOrEqual(1);
        const dropped = effects.findIndex(({ type }) => type === "drop");
        const after = dropped === -1 ? [] : effects.slice(dropped + 1);
        expect(after.every((effect) => effect.type === "ack")).toBe(true);
      }),
    );
  });

  it("always comes to an end once the trainer has", () => {
    assert(
      property(anyRun, (events) => {
        const facts = ["prepare.stopped", "launch.failed", "exited 1", "publish.aborted", "stored"];
        const end = facts.map((name) => EVENTS[name as EventName]);
        const { state } = play([...events, EVENTS.shutdown, ...end, ...end]);
        expect(state.phase).toBe("done");
      }),
    );
  });
});

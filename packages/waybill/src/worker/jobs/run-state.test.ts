import { array, assert, constantFrom, property } from "fast-check";
import { describe, expect, it } from "vitest";
import * as v from "valibot";
import { type CommandName, ModelId } from "@waybill/sdk/protocol";
import { next } from "./run-state.ts";
import { INITIAL, type RunEffect, type RunEvent, type RunState } from "./run-types.ts";

const model = v.parse(ModelId, "00112233");
const stop = { id: "s", name: "stop" } as const;
const cancel = { id: "x", name: "cancel" } as const;
const pause = { id: "p", name: "pause" } as const;
const adjust = { id: "a", name: "adjust", values: { lr: 0.1 } } as const;
const second = { id: "b", name: "adjust", values: { lr: 0.2 } } as const;
const save = { id: "k", name: "checkpoint" } as const;

/** One state of each kind that behaves differently. A phase without a state here does not compile below. */
const STATES = {
  preparing: INITIAL,
  "preparing, paused": { phase: "preparing", ready: false, paused: true, waiting: [] },
  "preparing, ready": { phase: "preparing", ready: true, paused: true, waiting: [adjust] },
  training: { phase: "training", paused: false, waiting: [] },
  "training, pausing": { phase: "training", paused: false, waiting: [pause] },
  "training, paused": { phase: "training", paused: true, waiting: [] },
  "training, asked": { phase: "training", paused: false, waiting: [adjust, second, save] },
  "training, asked and paused": { phase: "training", paused: true, waiting: [adjust] },
  "leaving, asking": { phase: "leaving", step: "asking", waiting: [save] },
  "leaving, flushing": { phase: "leaving", step: "flushing", waiting: [] },
  "leaving, trainer gone": {
    phase: "leaving",
    step: "flushing",
    end: { outcome: "interrupted", reason: "r" },
    waiting: [adjust],
  },
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

const command = (name: CommandName): RunEvent => ({
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
  adjust: { type: "command", id: "c", name: "adjust", values: { lr: 1 } },
  checkpoint: command("checkpoint"),
  "checkpoint, deaf": { type: "command", id: "c", name: "checkpoint", deaf: true },
  adjusted: { type: "adjusted", values: { lr: 0.1 } },
  "adjusted b": { type: "adjusted", id: "b", values: { lr: 0.2 } },
  checkpointed: { type: "checkpointed" },
  "tell.failed": { type: "tell.failed", id: "a", reason: "r" },
  unanswered: { type: "unanswered", id: "a", afterMs: 30_000 },
  lost: { type: "lost", reason: "r" },
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
  shutdown: { type: "shutdown", saves: false },
  "shutdown, saving": { type: "shutdown", saves: true },
  "save.over": { type: "save.over" },
  flushed: { type: "flushed" },
} as const satisfies Record<string, RunEvent>;
type EventName = keyof typeof EVENTS;

function nameOf(state: RunState): string {
  switch (state.phase) {
    case "preparing":
      return `preparing${state.ready ? ", ready" : ""}${state.paused ? ", paused" : ""}${waitingOf(state.waiting)}`;
    case "training":
      return `training${state.paused ? ", paused" : ""}${waitingOf(state.waiting)}`;
    case "leaving":
      return `leaving, ${state.end === undefined ? state.step : "trainer gone"}${waitingOf(state.waiting)}`;
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
    case "tell":
    case "await":
      return `${effect.type} ${effect.command.id}`;
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
    adjust: "preparing (c) | c received",
    checkpoint: "preparing (c) | c received",
    "checkpoint, deaf": "same | c rejected",
    revoked: "ending, revoke, unlaunched | abort.prepare",
    "disk.low": "ending, space, unlaunched | abort.prepare",
    shutdown: "ending, shutdown, unlaunched | abort.prepare",
    "shutdown, saving": "ending, shutdown, unlaunched | abort.prepare",
  },
  "preparing, paused": {
    prepared: "preparing, ready, paused",
    "prepare.failed": "finishing, failed | end failed",
    pause: "same | c received | c applied",
    resume: "preparing | c received | say running | c applied",
    stop: "ending, stop, unlaunched (c) | c received | abort.prepare",
    cancel: "ending, cancel, unlaunched (c) | c received | abort.prepare",
    adjust: "preparing, paused (c) | c received",
    checkpoint: "preparing, paused (c) | c received",
    "checkpoint, deaf": "same | c rejected",
    revoked: "ending, revoke, unlaunched | abort.prepare",
    "disk.low": "ending, space, unlaunched | abort.prepare",
    shutdown: "ending, shutdown, unlaunched | abort.prepare",
    "shutdown, saving": "ending, shutdown, unlaunched | abort.prepare",
  },
  "preparing, ready": {
    "prepare.failed": "finishing, failed | a rejected | end failed",
    pause: "same | c received | c applied",
    resume: "training (a) | c received | c applied | launch | tell a",
    stop: "finishing, cancelled | c received | c applied | a rejected | end cancelled",
    cancel: "finishing, cancelled | c received | c applied | a rejected | end cancelled",
    adjust: "preparing, ready, paused (a c) | c received",
    checkpoint: "preparing, ready, paused (a c) | c received",
    "checkpoint, deaf": "same | c rejected",
    revoked: "done, dropped | a rejected | drop",
    "disk.low": "finishing, failed | a rejected | end failed",
    shutdown: "finishing, interrupted | a rejected | end interrupted",
    "shutdown, saving": "finishing, interrupted | a rejected | end interrupted",
  },
  training: {
    launched: "same | say running",
    "launch.failed": "finishing, failed | end failed",
    pause: "training (c) | c received | pause",
    resume: "same | c received | c applied",
    stop: "ending, stop (c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (c) | c received | say stopping | terminate cancel",
    adjust: "training (c) | c received | tell c",
    checkpoint: "training (c) | c received | tell c",
    "checkpoint, deaf": "same | c rejected",
    lost: "leaving, trainer gone | flush",
    "signalled pause": "training, paused | say paused",
    "exited 0": "publishing | publish",
    "exited 1": "finishing, failed | end failed",
    revoked: "ending, revoke | terminate cancel",
    "disk.low": "ending, space | say stopping | terminate cancel",
    shutdown: "ending, shutdown | say stopping | terminate shutdown",
    "shutdown, saving": "leaving, asking | say stopping | save",
  },
  "training, pausing": {
    launched: "same | say running",
    "launch.failed": "finishing, failed | p rejected | end failed",
    pause: "training (p c) | c received | pause",
    resume: "training (p c) | c received | resume",
    stop: "ending, stop (p c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (p c) | c received | say stopping | terminate cancel",
    adjust: "training (p c) | c received | tell c",
    checkpoint: "training (p c) | c received | tell c",
    "checkpoint, deaf": "same | c rejected",
    lost: "leaving, trainer gone (p) | flush",
    "signalled pause": "training, paused | say paused | p applied",
    "signal.failed": "training | p rejected",
    "exited 0": "publishing | p rejected | publish",
    "exited 1": "finishing, failed | p rejected | end failed",
    revoked: "ending, revoke (p) | terminate cancel",
    "disk.low": "ending, space (p) | say stopping | terminate cancel",
    shutdown: "ending, shutdown (p) | say stopping | terminate shutdown",
    "shutdown, saving": "leaving, asking (p) | say stopping | save",
  },
  "training, paused": {
    launched: "same | say running",
    "launch.failed": "finishing, failed | end failed",
    pause: "same | c received | c applied",
    resume: "training, paused (c) | c received | resume",
    stop: "ending, stop (c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (c) | c received | say stopping | terminate cancel",
    adjust: "training, paused (c) | c received | tell c",
    checkpoint: "training, paused (c) | c received | tell c",
    "checkpoint, deaf": "same | c rejected",
    lost: "leaving, trainer gone | flush",
    "signalled resume": "training | say running",
    "exited 0": "publishing | publish",
    "exited 1": "finishing, failed | end failed",
    revoked: "ending, revoke | terminate cancel",
    "disk.low": "ending, space | say stopping | terminate cancel",
    shutdown: "ending, shutdown | say stopping | terminate shutdown",
    "shutdown, saving": "leaving, asking | say stopping | save",
  },
  "training, asked": {
    launched: "same | say running",
    "launch.failed": "finishing, failed | a rejected | b rejected | k rejected | end failed",
    pause: "training (a b k c) | c received | pause",
    resume: "same | c received | c applied",
    stop: "ending, stop (a b k c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (a b k c) | c received | say stopping | terminate cancel",
    adjust: "training (a b k c) | c received | tell c",
    checkpoint: "training (a b k c) | c received | tell c",
    "checkpoint, deaf": "same | c rejected",
    adjusted: "training (b k) | a applied",
    "adjusted b": "training (a k) | b applied",
    checkpointed: "training (a b) | k applied",
    "tell.failed": "training (b k) | a rejected",
    unanswered: "training (b k) | a rejected",
    lost: "leaving, trainer gone (a b k) | flush",
    "signalled pause": "training, paused (a b k) | say paused",
    "exited 0": "publishing | a rejected | b rejected | k rejected | publish",
    "exited 1": "finishing, failed | a rejected | b rejected | k rejected | end failed",
    revoked: "ending, revoke (a b k) | terminate cancel",
    "disk.low": "ending, space (a b k) | say stopping | terminate cancel",
    shutdown: "ending, shutdown (a b k) | say stopping | terminate shutdown",
    "shutdown, saving": "leaving, asking (a b k) | say stopping | save",
  },
  "training, asked and paused": {
    launched: "same | say running",
    "launch.failed": "finishing, failed | a rejected | end failed",
    pause: "same | c received | c applied",
    resume: "training, paused (a c) | c received | resume",
    stop: "ending, stop (a c) | c received | say stopping | terminate stop",
    cancel: "ending, cancel (a c) | c received | say stopping | terminate cancel",
    adjust: "training, paused (a c) | c received | tell c",
    checkpoint: "training, paused (a c) | c received | tell c",
    "checkpoint, deaf": "same | c rejected",
    adjusted: "training, paused | a applied",
    "tell.failed": "training, paused | a rejected",
    unanswered: "same | await a",
    lost: "leaving, trainer gone (a) | flush",
    "signalled resume": "training (a) | say running",
    "exited 0": "publishing | a rejected | publish",
    "exited 1": "finishing, failed | a rejected | end failed",
    revoked: "ending, revoke (a) | terminate cancel",
    "disk.low": "ending, space (a) | say stopping | terminate cancel",
    shutdown: "ending, shutdown (a) | say stopping | terminate shutdown",
    "shutdown, saving": "leaving, asking (a) | say stopping | save",
  },
  "leaving, asking": {
    "launch.failed": "leaving, trainer gone (k) | flush",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "ending, cancel (k c) | c received | terminate cancel",
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    checkpointed: "leaving, flushing | k applied | flush",
    lost: "leaving, trainer gone (k) | flush",
    "exited 0": "leaving, trainer gone (k) | flush",
    "exited 1": "leaving, trainer gone (k) | flush",
    revoked: "ending, revoke (k) | terminate cancel",
    "save.over": "leaving, flushing (k) | flush",
  },
  "leaving, flushing": {
    "launch.failed": "leaving, trainer gone",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "ending, cancel (c) | c received | terminate cancel",
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    lost: "leaving, trainer gone",
    "exited 0": "leaving, trainer gone",
    "exited 1": "leaving, trainer gone",
    revoked: "ending, revoke | terminate cancel",
    flushed: "ending, shutdown | terminate shutdown",
  },
  "leaving, trainer gone": {
    "launch.failed": "leaving, trainer gone (a)",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "finishing, cancelled | c received | a rejected | c applied | end cancelled",
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    adjusted: "leaving, trainer gone | a applied",
    "tell.failed": "leaving, trainer gone | a rejected",
    unanswered: "leaving, trainer gone | a rejected",
    lost: "leaving, trainer gone (a)",
    "exited 0": "leaving, trainer gone (a)",
    "exited 1": "leaving, trainer gone (a)",
    revoked: "done, dropped | a rejected | drop",
    flushed: "finishing, interrupted | a rejected | end interrupted",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    lost: "finishing, cancelled | x applied | end cancelled",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    lost: "publishing | s applied | publish early",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    lost: "finishing, cancelled | x applied | end cancelled",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    lost: "leaving, trainer gone | flush",
    "exited 0": "leaving, trainer gone | flush",
    "exited 1": "leaving, trainer gone | flush",
    revoked: "ending, revoke | terminate cancel",
  },
  "ending, space": {
    "launch.failed": "finishing, failed | end failed",
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c rejected",
    cancel: "ending, cancel (c) | c received | terminate cancel",
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    lost: "finishing, failed | end failed",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    lost: "done, dropped | drop",
    "exited 0": "done, dropped | drop",
    "exited 1": "done, dropped | drop",
  },
  publishing: {
    pause: "same | c rejected",
    resume: "same | c received | c applied",
    stop: "same | c received | c applied",
    cancel: "aborting, cancel (c) | c received | abort.publish",
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
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
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    published: "done, dropped | drop",
    "publish.failed": "done, dropped | drop",
    "publish.aborted": "done, dropped | drop",
  },
  finishing: {
    pause: "same | c rejected",
    resume: "same | c rejected",
    stop: "same | c rejected",
    cancel: "same | c rejected",
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
    stored: "done, completed",
    revoked: "done, dropped | drop",
  },
  done: {
    pause: "same | c rejected",
    resume: "same | c rejected",
    stop: "same | c rejected",
    cancel: "same | c rejected",
    adjust: "same | c rejected",
    checkpoint: "same | c rejected",
    "checkpoint, deaf": "same | c rejected",
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
        const facts = [
          "prepare.stopped",
          "launch.failed",
          "exited 1",
          "flushed",
          "publish.aborted",
          "stored",
        ];
        const end = facts.map((name) => EVENTS[name as EventName]);
        const { state } = play([...events, EVENTS.shutdown, ...end, ...end]);
        expect(state.phase).toBe("done");
      }),
    );
  });
});

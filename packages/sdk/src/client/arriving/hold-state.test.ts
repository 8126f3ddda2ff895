// docs/protocol/arriving.md §8: when a held upload is sent after all, and when it need not be.
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  HOLD_RULES,
  HOLD_START,
  type HoldEffect,
  type HoldEvent,
  type HoldState,
  nextHold,
} from "./hold-state.ts";

type Phase = HoldState["phase"];

const UNTIL = 5000;
const states: Readonly<Record<Phase, HoldState>> = {
  announced: HOLD_START,
  queued: { phase: "queued", untilMs: UNTIL, attempt: 1, kind: "desktop" },
  awaited: { phase: "awaited", untilMs: UNTIL, attempt: 1, kind: "desktop" },
  serving: { phase: "serving", untilMs: UNTIL, attempt: 1, kind: "desktop" },
  delivered: { phase: "delivered", untilMs: undefined, attempt: 1, kind: "desktop" },
  uploading: { phase: "uploading", untilMs: undefined, attempt: 1, kind: "desktop" },
  over: { phase: "over", untilMs: undefined, attempt: 1, kind: "desktop" },
};
const events = {
  queued: { type: "queued" },
  again: { type: "assigned", attempt: 1, kind: "desktop" },
  another: { type: "assigned", attempt: 2, kind: "desktop" },
  served: { type: "served" },
  blocked: { type: "blocked", why: "no way is left" },
  delivered: { type: "delivered" },
  ended: { type: "ended" },
  early: { type: "tick" },
  late: { type: "tick" },
} as const satisfies Record<string, HoldEvent>;
type Name = keyof typeof events;

/** The phase after each event; `-` is the same one. */
const TABLE: Readonly<Record<Phase, Readonly<Record<Name, Phase | "-">>>> = {
  announced: {
    queued: "queued",
    again: "awaited",
    another: "awaited",
    served: "serving",
    blocked: "uploading",
    delivered: "delivered",
    ended: "over",
    early: "-",
    late: "-",
  },
  queued: {
    queued: "-",
    again: "-",
    another: "awaited",
    served: "serving",
    blocked: "uploading",
    delivered: "delivered",
    ended: "over",
    early: "-",
    late: "uploading",
  },
  awaited: {
    queued: "queued",
    again: "-",
    another: "-",
    served: "serving",
    blocked: "uploading",
    delivered: "delivered",
    ended: "over",
    early: "-",
    late: "uploading",
  },
  serving: {
    queued: "queued",
    again: "-",
    another: "-",
    served: "-",
    blocked: "uploading",
    delivered: "delivered",
    ended: "over",
    early: "-",
    late: "uploading",
  },
  delivered: {
    queued: "queued",
    again: "-",
    another: "awaited",
    served: "-",
    blocked: "-",
    delivered: "-",
    ended: "over",
    early: "-",
    late: "-",
  },
  uploading: {
    queued: "-",
    again: "-",
    another: "-",
    served: "-",
    blocked: "-",
    delivered: "-",
    ended: "-",
    early: "-",
    late: "-",
  },
  over: {
    queued: "-",
    again: "-",
    another: "-",
    served: "-",
    blocked: "-",
    delivered: "-",
    ended: "-",
    early: "-",
    late: "-",
  },
};

const rows = (Object.keys(TABLE) as Phase[]).flatMap((phase) =>
  (Object.keys(events) as Name[]).map((name) => ({ phase, name, next: TABLE[phase][name] })),
);

function step(state: HoldState, name: Name, nowMs = name === "late" ? UNTIL : UNTIL - 1) {
  return nextHold(state, { ...events[name], nowMs });
}

describe("a held upload", () => {
  it.each(rows)("$phase, after $name: $next", ({ phase, name, next }) => {
    const { state } = step(states[phase], name);
    expect(state.phase).toBe(next === "-" ? phase : next);
  });

  it.each([
    ["queued", "no worker has taken the job for 30 s"],
    ["awaited", "the job's worker has asked for nothing in 10 s"],
    ["serving", "no byte has left for 10 s"],
  ] as const)("is sent when it was %s for too long, and says: %s", (phase, why) => {
    expect(step(states[phase], "late").effects).toEqual([{ type: "upload", why }]);
  });

  it("gives a reader ten seconds from its last byte, and a new attempt ten from its assignment", () => {
    const bytes = nextHold(states.serving, { type: "served", nowMs: 4000 }).state;
    expect(bytes.untilMs).toBe(14_000);
    const next = nextHold(states.delivered, { ...events.another, nowMs: 4000 }).state;
    expect(next).toMatchObject({ phase: "awaited", untilMs: 14_000, attempt: 2 });
  });

  it("is sent after the delivery when the worker is ephemeral, or when this process leaves", () => {
    const pod: HoldState = { ...states.serving, kind: "ephemeral" };
    const asPod = step(pod, "delivered");
    expect(asPod.state.phase).toBe("uploading");
    expect(asPod.effects).toMatchObject([
      { type: "upload", why: expect.stringMatching(/go away/) },
    ]);
    const event = { type: "delivered", nowMs: 0 } as const;
    const left = nextHold(states.serving, event, { ...HOLD_RULES, leaves: true });
    expect(left.effects).toMatchObject([
      { type: "upload", why: expect.stringMatching(/ends now/) },
    ]);
  });

  it("waits for a worker for ever when it may", () => {
    const rules = { ...HOLD_RULES, queuedMs: Infinity };
    const { state } = nextHold(HOLD_START, { type: "queued", nowMs: 0 }, rules);
    expect(nextHold(state, { type: "tick", nowMs: 1e9 }, rules).state.phase).toBe("queued");
  });

  it("ends once, by an upload or without one, whatever happens in whatever order", () => {
    const anyEvent = fc.record({
      event: fc.constantFrom(...(Object.keys(events) as Name[])),
      afterMs: fc.integer({ min: 0, max: 20_000 }),
    });
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 40 }), (list) => {
        let state = HOLD_START;
        let nowMs = 0;
        const ends: HoldEffect[] = [];
        for (const { event, afterMs } of list) {
          nowMs += afterMs;
          const next = nextHold(state, { ...events[event], nowMs });
          state = next.state;
          ends.push(...next.effects.filter(({ type }) => type !== "explain"));
        }
        const isEnded = state.phase === "uploading" || state.phase === "over";
        expect(ends.length).toBe(isEnded ? 1 : 0);
        expect(state.untilMs === undefined).toBe(
          isEnded || state.phase === "delivered" || state.phase === "announced",
        );
      }),
    );
  });
});

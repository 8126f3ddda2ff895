import { describe, expect, it } from "vitest";
import {
  type AssociationState,
  type AssociationTick,
  ENOUGH_BYTES_PER_S,
  IDLE_MS,
  MAX_ASSOCIATIONS,
  NO_ASSOCIATION,
  OPEN_MS,
  RETRY_MS,
  nextAssociations,
} from "./association-count.ts";

const tick = (changes: Partial<AssociationTick> = {}): AssociationTick => ({
  nowMs: 100_000,
  deliveredBytes: 0,
  open: 16,
  busy: true,
  rttMs: 20,
  ...changes,
});
const before = { rate: 1e6, count: 4 };
const base = { count: 16, idleSinceMs: undefined, restoredMs: undefined } as const;
type Phase = AssociationState["phase"];
const STATES: { readonly [P in Phase]: AssociationState } = {
  resting: NO_ASSOCIATION,
  opening: { ...base, phase: "opening", sinceMs: 99_000, before },
  measuring: { ...base, phase: "measuring", sinceMs: 98_000, sinceBytes: 0, before },
  settled: { ...base, phase: "settled", untilMs: 101_000 },
};
const TICKS = {
  idle: tick({ busy: false }),
  slow: tick({ deliveredBytes: 2.2e6 }),
  fast: tick({ deliveredBytes: 2.4e6 }),
  fewer: tick({ open: 3 }),
  opened: tick(),
  late: tick({ nowMs: 99_000 + OPEN_MS, open: 4 }),
  some: tick({ nowMs: 99_000 + OPEN_MS, open: 9 }),
};
type Row = { readonly [T in keyof typeof TICKS]: readonly [Phase, number | undefined] };
/** Every state and kind of tick; a new one does not compile until it has its row. */
const TABLE: { readonly [P in Phase]: Row } = {
  resting: {
    idle: ["resting", undefined],
    slow: ["opening", 1],
    fast: ["opening", 1],
    fewer: ["opening", 1],
    opened: ["opening", 1],
    late: ["opening", 1],
    some: ["opening", 1],
  },
  opening: {
    idle: ["opening", undefined],
    slow: ["measuring", undefined],
    fast: ["measuring", undefined],
    fewer: ["opening", undefined],
    opened: ["measuring", undefined],
    late: ["settled", 4],
    some: ["measuring", 9],
  },
  measuring: {
    idle: ["measuring", undefined],
    slow: ["settled", 4],
    fast: ["settled", undefined],
    fewer: ["opening", 16],
    opened: ["settled", 4],
    late: ["opening", 16],
    some: ["opening", 16],
  },
  settled: {
    idle: ["settled", undefined],
    slow: ["settled", undefined],
    fast: ["settled", undefined],
    fewer: ["opening", 16],
    opened: ["settled", undefined],
    late: ["opening", 16],
    some: ["opening", 16],
  },
};

describe("the number of connections for bulk", () => {
  for (const [phase, row] of Object.entries(TABLE)) {
    for (const [kind, [after, want]] of Object.entries(row)) {
      it(`${phase} on a tick that is ${kind} becomes ${after}, wanting ${want ?? "no other number"}`, () => {
        const step = nextAssociations(STATES[phase as Phase], TICKS[kind as keyof typeof TICKS]);
        expect([step.state.phase, step.want]).toEqual([after, want]);
      });
    }
  }

  /** Runs the machine on a path that gives `rate(n)` bytes per second to n connections. */
  const settleOn = (rate: (count: number) => number): { count: number; seconds: number } => {
    let state: AssociationState = NO_ASSOCIATION;
    let [nowMs, deliveredBytes, open] = [0, 0, 0];
    for (; state.phase !== "settled"; nowMs += 250) {
      const step = nextAssociations(state, tick({ nowMs, deliveredBytes, open }));
      state = step.state;
      open = step.want ?? open;
      deliveredBytes += rate(open) / 4;
    }
    return { count: state.count, seconds: nowMs / 1000 };
  };

  it("grows to what a path with loss can use, within seconds", () => {
    const found = settleOn((count) => count * 0.7e6);
    expect(found.count).toBe(MAX_ASSOCIATIONS);
    expect(found.seconds).toBeLessThan(8);
  });

  it("stays at one where more bring nothing, and where one is enough", () => {
    expect(settleOn(() => 2e6).count).toBe(1);
    expect(settleOn((count) => count * ENOUGH_BYTES_PER_S).count).toBe(1);
  });

  it("steps back when the path is full", () => {
    expect(settleOn((count) => Math.min(3e6, count * 1e6)).count).toBe(4);
  });

  it("tries again after a while, and lets all go after 30 s without use", () => {
    const { settled } = STATES;
    const again = nextAssociations(settled, tick({ nowMs: 101_000 + RETRY_MS }));
    expect(again.state.phase).toBe("measuring");
    const idle = nextAssociations(settled, tick({ busy: false }));
    expect(idle.want).toBeUndefined();
    const over = nextAssociations(idle.state, tick({ busy: false, nowMs: 100_000 + IDLE_MS }));
    expect(over).toEqual({ state: NO_ASSOCIATION, want: 0 });
  });

  it("opens the first connection, when there was none to be had before, once there is", () => {
    let state: AssociationState = NO_ASSOCIATION;
    let [nowMs, open] = [0, 0];
    const wanted: number[] = [];
    for (; nowMs < 60_000; nowMs += 250) {
      const step = nextAssociations(state, tick({ nowMs, deliveredBytes: nowMs * 1000, open }));
      state = step.state;
      if (step.want !== undefined) wanted.push(step.want);
      if (nowMs > 10_000) open = step.want ?? open;
    }
    expect(state.count).toBeGreaterThan(0);
    expect(open).toBe(state.count);
    // Not again and again while there is none.
    expect(wanted.length).toBeLessThan(10);
  });

  it.each(["settled", "measuring"] as const)(
    "opens lost connections again while %s, at most once in 20 s",
    (phase) => {
      const lately = { ...STATES[phase], restoredMs: 100_000 - RETRY_MS + 1 };
      const lost = tick({ open: 3 });
      expect(nextAssociations(lately, lost).state.phase).not.toBe("opening");
      const step = nextAssociations({ ...lately, restoredMs: 100_000 - RETRY_MS }, lost);
      expect(step).toMatchObject({ state: { phase: "opening", count: 16 }, want: 16 });
    },
  );

  it("measures anew after a pause of the application", () => {
    const paused = nextAssociations(STATES.measuring, TICKS.idle);
    expect(paused.state).toMatchObject({ sinceBytes: undefined });
  });
});

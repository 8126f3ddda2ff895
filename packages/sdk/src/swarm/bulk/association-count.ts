// How many connections of its own bulk uses on one link, as a pure machine. The first keeps it out of the way of control
// messages, which starve behind it; until it is open, bulk uses gaps of theirs. Loss and distance ruin one SCTP association: each
// has a window of its own, so more of them carry more until the path is full. Nothing tells beforehand; it is tried.
//
//   resting ──busy──▶ opening ──they are open──▶ measuring ──more was worth it, or the first──▶ opening
//      ▲                                             └──it was not, or enough──▶ settled ──after a while──▶ measuring
//      └──idle for 30 s───────────────────────────────────┘
//
// Connections that broke are opened again while bulk needs them: from measuring and settled, back to opening.

/** What more connections must exceed: bytes per second with fewer. */
type Before = { readonly rate: number; readonly count: number };

export type AssociationState = {
  /** Connections wanted. */
  readonly count: number;
  /** Since when nothing was sent; undefined while something is. */
  readonly idleSinceMs: number | undefined;
  /** When connections that were lost were last opened again. */
  readonly restoredMs: number | undefined;
} & (
  | { readonly phase: "resting" }
  | {
      readonly phase: "measuring";
      /** Begins in the future: what has just opened is still starting up. */
      readonly sinceMs: number;
      readonly sinceBytes: number | undefined;
      /** Undefined for the first. */
      readonly before: Before | undefined;
    }
  | {
      readonly phase: "opening";
      readonly sinceMs: number;
      readonly before: Before | undefined;
    }
  | { readonly phase: "settled"; readonly untilMs: number }
);

export type AssociationTick = {
  readonly nowMs: number;
  /** Bytes the peer has confirmed, over all connections, since the link began. */
  readonly deliveredBytes: number;
  /** Connections open now. */
  readonly open: number;
  /** The connections, not the application or the receiver, hold the sender up. */
  readonly busy: boolean;
  readonly rttMs: number;
};

export type AssociationStep = {
  readonly state: AssociationState;
  /** The number wanted from now on, when it has changed. */
  readonly want: number | undefined;
};

/** DESIGN §10: 16 fill 100 Mbit/s at 20 ms and 1 % loss; more cost memory and gain little. */
export const MAX_ASSOCIATIONS = 16;
/** The next number tried. A frame is a tenth of what an association under loss carries in a second: twice as many would drown in that. */
const GROWTH = 4;
/** So many more must bring at least so much more. */
const WORTH = 1.15;
/** Here the processor is the limit, not the path (113–150 MB/s on one machine, whatever the number). */
export const ENOUGH_BYTES_PER_S = 60e6;
/** Slow start overshoots, and what it lost is repeated after timeouts: only then a connection has found its pace. */
const SETTLE_MS = 500;
const SETTLE_ROUND_TRIPS = 20;
const MEASURE_MS = 1000;
const MEASURE_ROUND_TRIPS = 16;
export const OPEN_MS = 5000;
/** The path may have changed; what it loses again and again is not opened again more often. */
export const RETRY_MS = 20_000;
export const IDLE_MS = 30_000;

export const NO_ASSOCIATION: AssociationState = {
  phase: "resting",
  count: 0,
  idleSinceMs: undefined,
  restoredMs: undefined,
};

export function nextAssociations(state: AssociationState, tick: AssociationTick): AssociationStep {
  const { nowMs, busy } = tick;
  if (!busy) {
    const idleSinceMs = state.idleSinceMs ?? nowMs;
    if (nowMs - idleSinceMs >= IDLE_MS && state.phase !== "resting") {
      return { state: NO_ASSOCIATION, want: state.count === 0 ? undefined : 0 };
    }
    // What the application does not send measures nothing.
    const paused =
      state.phase === "measuring" ? { ...state, sinceMs: nowMs, sinceBytes: undefined } : state;
    return stay({ ...paused, idleSinceMs });
  }
  const { count } = state;
  switch (state.phase) {
    case "resting":
      return opening(state, 1, undefined, nowMs);
    case "opening": {
      const { open } = tick;
      if (open >= count) return stay(measuring(state, count, state.before, tick));
      if (nowMs - state.sinceMs < OPEN_MS) return stay(state);
      const had = state.before?.count ?? 0;
      return open > had
        ? { state: measuring(state, open, state.before, tick), want: open }
        : settle(state, had, nowMs);
    }
    case "measuring":
      return restored(state, state.before, tick) ?? measured(state, tick);
    case "settled": {
      const again = restored(state, undefined, tick);
      if (again !== undefined) return again;
      return nowMs < state.untilMs
        ? stay({ ...state, idleSinceMs: undefined })
        : stay(measuring(state, count, undefined, tick));
    }
    default:
      return stay(state satisfies never);
  }
}

/** Opens again what was lost, or never opened. */
function restored(
  state: AssociationState,
  before: Before | undefined,
  { nowMs, open }: AssociationTick,
): AssociationStep | undefined {
  const wanted = Math.max(1, state.count);
  if (open >= wanted || nowMs - (state.restoredMs ?? -Infinity) < RETRY_MS) return undefined;
  return opening({ ...state, restoredMs: nowMs }, wanted, before, nowMs);
}

function measured(
  state: AssociationState & { readonly phase: "measuring" },
  tick: AssociationTick,
): AssociationStep {
  const { nowMs, deliveredBytes, rttMs } = tick;
  const { count, before } = state;
  if (nowMs < state.sinceMs) return stay(state);
  if (state.sinceBytes === undefined) {
    const sinceBytes = deliveredBytes;
    return stay({ ...state, sinceMs: nowMs, sinceBytes, idleSinceMs: undefined });
  }
  const elapsedMs = nowMs - state.sinceMs;
  if (elapsedMs < Math.max(MEASURE_MS, MEASURE_ROUND_TRIPS * rttMs)) return stay(state);
  const rate = ((deliveredBytes - state.sinceBytes) * 1000) / elapsedMs;
  if (before !== undefined && rate < before.rate * WORTH) {
    return settle(state, before.count, nowMs);
  }
  if (count >= MAX_ASSOCIATIONS || rate >= ENOUGH_BYTES_PER_S) return settle(state, count, nowMs);
  // The first is there to keep out of the way of control messages, whatever it carries.
  if (count === 0) return opening(state, 1, undefined, nowMs);
  return opening(state, Math.min(MAX_ASSOCIATIONS, count * GROWTH), { rate, count }, nowMs);
}

function opening(
  { restoredMs }: AssociationState,
  count: number,
  before: Before | undefined,
  nowMs: number,
): AssociationStep {
  const common = { count, idleSinceMs: undefined, restoredMs };
  return { state: { phase: "opening", ...common, sinceMs: nowMs, before }, want: count };
}

function measuring(
  { restoredMs }: AssociationState,
  count: number,
  before: Before | undefined,
  { nowMs, rttMs }: AssociationTick,
): AssociationState {
  const sinceMs = nowMs + Math.max(SETTLE_MS, SETTLE_ROUND_TRIPS * rttMs);
  return {
    phase: "measuring",
    count,
    idleSinceMs: undefined,
    restoredMs,
    sinceMs,
    sinceBytes: undefined,
    before,
  };
}

function settle(state: AssociationState, count: number, nowMs: number): AssociationStep {
  const { restoredMs } = state;
  const untilMs = nowMs + RETRY_MS;
  return {
    state: { phase: "settled", count, idleSinceMs: undefined, restoredMs, untilMs },
    want: count === state.count ? undefined : count,
  };
}

function stay(state: AssociationState): AssociationStep {
  return { state, want: undefined };
}

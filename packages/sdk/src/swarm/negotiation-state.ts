// Setting up the direct channel of one link, as a pure machine (peer-channel.md §4). A negotiation never
// changes a connection that exists: every try is a new connection with a new id, so that whatever arrives
// for an older one can be dropped. That also covers stacks without rollback or ICE restart.
//
//   resting ──want, timer, nudge──▶ offering ──opened──▶ open
//      ▲  └──offered──▶ answering ──opened──────────────▶ │
//      └───────────────failed, bye, timer─────────────────┘
import { assertNever } from "../protocol/index.ts";

export type NegotiationState = {
  /** Whether this side wants a direct channel and therefore offers. */
  readonly wanted: boolean;
  /** Failed tries in a row; decides the backoff. */
  readonly attempt: number;
} & (
  | { readonly phase: "resting" }
  | { readonly phase: "offering" | "answering" | "open"; readonly connection: string }
);

/** `fresh` is an id never used before, for the connection that an event may begin. */
export type NegotiationEvent =
  | { readonly type: "want"; readonly fresh: string }
  | { readonly type: "unwant" }
  | { readonly type: "offered" | "answered" | "bye"; readonly connection: string }
  | { readonly type: "opened" | "failed"; readonly connection: string }
  | { readonly type: "timer"; readonly fresh: string }
  /** The peer or the hub came (back): what was sent before may be lost, and waiting is pointless. */
  | { readonly type: "nudge"; readonly fresh: string };

export type NegotiationEffect =
  | { readonly type: "offer" | "answer" | "apply"; readonly connection: string }
  /** Close it; with `bye`, tell the peer. */
  | { readonly type: "close"; readonly connection: string; readonly bye: boolean }
  /** Replaces the one timer; every change of phase without it cancels the timer. */
  | { readonly type: "timer"; readonly ms: number }
  | { readonly type: "backoff"; readonly attempt: number };

export type NegotiationStep = {
  readonly state: NegotiationState;
  readonly effects: readonly NegotiationEffect[];
};

/** ICE gives up after about as long; on one machine a connection takes 0.1 s, over TURN a few seconds. */
export const NEGOTIATE_MS = 15_000;
/** A channel that stayed open for this long was a success: the next failure starts the backoff anew. */
export const STEADY_MS = 30_000;

export const UNCONNECTED: NegotiationState = { phase: "resting", wanted: false, attempt: 0 };

/** What follows on an event. `polite`: our peer id is the smaller one, so in a tie our offer yields. */
export function nextNegotiation(
  state: NegotiationState,
  event: NegotiationEvent,
  polite: boolean,
): NegotiationStep {
  switch (event.type) {
    case "want":
      return state.phase === "resting" && !state.wanted
        ? offer({ ...state, wanted: true }, event.fresh)
        : stay({ ...state, wanted: true });
    case "unwant":
      return rest({ ...state, wanted: false }, { bye: true });
    case "offered":
      return offered(state, event.connection, polite);
    case "answered":
      return state.phase === "offering" && state.connection === event.connection
        ? { state, effects: [{ type: "apply", connection: event.connection }] }
        : stay(state);
    case "opened":
      if (!concerns(state, event.connection) || state.phase === "open") return stay(state);
      return {
        state: { ...state, phase: "open", connection: event.connection },
        effects: [{ type: "timer", ms: STEADY_MS }],
      };
    case "bye":
      return concerns(state, event.connection) ? rest(state, { bye: false }) : stay(state);
    case "failed":
      return concerns(state, event.connection) ? rest(state, { bye: true }) : stay(state);
    case "timer":
      if (state.phase === "resting") return state.wanted ? offer(state, event.fresh) : stay(state);
      if (state.phase === "open") return stay({ ...state, attempt: 0 });
      return rest(state, { bye: true });
    case "nudge":
      if (!state.wanted || state.phase === "open" || state.phase === "answering")
        return stay(state);
      return offer(state, event.fresh);
    default:
      return assertNever(event);
  }
}

function offered(state: NegotiationState, connection: string, polite: boolean): NegotiationStep {
  // The other offer wins: its side ignores ours, which we close without a word.
  if (state.phase === "offering" && !polite) return stay(state);
  return {
    state: { ...state, phase: "answering", connection },
    effects: [
      ...closing(state, false),
      { type: "answer", connection },
      { type: "timer", ms: NEGOTIATE_MS },
    ],
  };
}

function offer(state: NegotiationState, connection: string): NegotiationStep {
  return {
    state: { ...state, phase: "offering", connection },
    effects: [
      ...closing(state, true),
      { type: "offer", connection },
      { type: "timer", ms: NEGOTIATE_MS },
    ],
  };
}

function rest(state: NegotiationState, how: { readonly bye: boolean }): NegotiationStep {
  const { wanted, attempt } = state;
  return {
    state: { phase: "resting", wanted, attempt: wanted ? attempt + 1 : 0 },
    effects: [
      ...closing(state, how.bye),
      ...(wanted ? [{ type: "backoff", attempt } as const] : []),
    ],
  };
}

function closing(state: NegotiationState, bye: boolean): NegotiationEffect[] {
  return state.phase === "resting" ? [] : [{ type: "close", connection: state.connection, bye }];
}

function concerns(state: NegotiationState, connection: string): boolean {
  return state.phase !== "resting" && state.connection === connection;
}

function stay(state: NegotiationState): NegotiationStep {
  return { state, effects: [] };
}

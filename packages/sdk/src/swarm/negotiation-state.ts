// Setting up and replacing the connection of one link, as a pure machine (peer-channel.md §4). A negotiation never
// changes a connection that exists: every try is a new connection with a new id, so that whatever arrives
// for an older one can be dropped. That also covers stacks without rollback or ICE restart. A connection whose
// path changes is replaced while it still serves.
//
//   resting ──want, timer, nudge──▶ offering ──opened──▶ open ──renew──▶ reoffering ──opened──▶ open
//      ▲  └──offered──▶ answering ──opened──────────────▶ │ └──offered──▶ reanswering ──opened──▶ │
//      └───────────────failed, bye, timer─────────────────┘ ◀──────the next one failed────────────┘
import { assertNever } from "../protocol/index.ts";

export type NegotiationState = {
  /** Whether this side wants a direct channel and therefore offers. */
  readonly wanted: boolean;
  /** Failed tries in a row; decides the backoff. */
  readonly attempt: number;
} & (
  | { readonly phase: "resting" }
  | { readonly phase: "offering" | "answering" | "open"; readonly connection: string }
  /** `connection` serves until `next` is open. */
  | {
      readonly phase: "reoffering" | "reanswering";
      readonly connection: string;
      readonly next: string;
    }
);

/** `fresh` is an id never used before, for the connection that an event may begin. */
export type NegotiationEvent =
  | { readonly type: "want"; readonly fresh: string }
  | { readonly type: "unwant" }
  /** As `unwant`, but the peer may go on using what there is. */
  | { readonly type: "spare" }
  /** `replaces`: what the offerer will close once this one is open. */
  | { readonly type: "offered"; readonly connection: string; readonly replaces?: string }
  | { readonly type: "answered" | "bye"; readonly connection: string }
  | { readonly type: "opened" | "failed"; readonly connection: string }
  | { readonly type: "timer"; readonly fresh: string }
  /** The peer or the hub came (back): what was sent before may be lost, and waiting is pointless. */
  | { readonly type: "nudge"; readonly fresh: string }
  /** The open connection will not last: its path has changed, answers late, or its credentials end. */
  | { readonly type: "renew"; readonly fresh: string };

export type NegotiationEffect =
  | { readonly type: "answer" | "apply"; readonly connection: string }
  | { readonly type: "offer"; readonly connection: string; readonly replaces?: string }
  /** Close it; with `bye`, tell the peer. */
  | { readonly type: "close"; readonly connection: string; readonly bye: boolean }
  /** Another one has taken over: close it when what it still carries has arrived. */
  | { readonly type: "retire"; readonly connection: string }
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

type Replacing = Extract<NegotiationState, { readonly next: string }>;

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
    case "spare":
      return stay({ ...state, wanted: false });
    case "unwant":
      return rest({ ...state, wanted: false }, { bye: true });
    case "offered":
      return offered(state, event, polite);
    case "answered":
      return comingOf(state) === event.connection && isOffering(state)
        ? { state, effects: [{ type: "apply", connection: event.connection }] }
        : stay(state);
    case "opened":
      return opened(state, event.connection);
    case "bye":
      return lost(state, event.connection, { bye: false });
    case "failed":
      return lost(state, event.connection, { bye: true });
    case "timer":
      if (state.phase === "resting") return state.wanted ? offer(state, event.fresh) : stay(state);
      if (state.phase === "open") return stay({ ...state, attempt: 0 });
      if (isReplacing(state)) return dropNext(state, { bye: true });
      return rest(state, { bye: true });
    case "nudge":
      return state.wanted && (state.phase === "resting" || state.phase === "offering")
        ? offer(state, event.fresh)
        : stay(state);
    case "renew":
      return state.phase === "open" ? renew(state, state.connection, event.fresh) : stay(state);
    default:
      return assertNever(event);
  }
}

/** The connection that carries messages or is to; undefined at rest. */
export function servingOf(state: NegotiationState): string | undefined {
  return state.phase === "resting" ? undefined : state.connection;
}

/** The connection being set up, if one is. */
export function comingOf(state: NegotiationState): string | undefined {
  if (state.phase === "resting" || state.phase === "open") return undefined;
  return isReplacing(state) ? state.next : state.connection;
}

function isOffering(state: NegotiationState): boolean {
  return state.phase === "offering" || state.phase === "reoffering";
}

function isReplacing(state: NegotiationState): state is Replacing {
  return state.phase === "reoffering" || state.phase === "reanswering";
}

function offered(
  state: NegotiationState,
  event: { readonly connection: string; readonly replaces?: string },
  polite: boolean,
): NegotiationStep {
  const { connection, replaces } = event;
  const { wanted, attempt } = state;
  const served = state.phase === "open" || isReplacing(state) ? state.connection : undefined;
  const keeps = served !== undefined && served === replaces;
  if (isOffering(state) && !polite) {
    // The other side closes its own offer and answers ours. What it does not replace, it does not have any more.
    if (!isReplacing(state) || keeps) return stay(state);
    return {
      state: { wanted, attempt, phase: "offering", connection: state.next },
      effects: [close(state.connection, false), { type: "timer", ms: NEGOTIATE_MS }],
    };
  }
  const answer = [
    { type: "answer", connection },
    { type: "timer", ms: NEGOTIATE_MS },
  ] as const;
  if (!keeps) {
    return {
      state: { wanted, attempt, phase: "answering", connection },
      effects: [...closing(state, false), ...answer],
    };
  }
  return {
    state: { wanted, attempt, phase: "reanswering", connection: served, next: connection },
    effects: [...(isReplacing(state) ? [close(state.next, false)] : []), ...answer],
  };
}

function opened(state: NegotiationState, connection: string): NegotiationStep {
  if (comingOf(state) !== connection) return stay(state);
  const { wanted, attempt } = state;
  return {
    state: { wanted, attempt, phase: "open", connection },
    effects: [
      ...(isReplacing(state) ? [{ type: "retire", connection: state.connection } as const] : []),
      { type: "timer", ms: STEADY_MS },
    ],
  };
}

function lost(
  state: NegotiationState,
  connection: string,
  how: { readonly bye: boolean },
): NegotiationStep {
  if (!isReplacing(state)) {
    return servingOf(state) === connection ? rest(state, how) : stay(state);
  }
  if (state.next === connection) return dropNext(state, how);
  if (state.connection !== connection) return stay(state);
  // The next one is on its way already.
  const phase = state.phase === "reoffering" ? "offering" : "answering";
  const { wanted, attempt } = state;
  return {
    state: { wanted, attempt, phase, connection: state.next },
    effects: [close(connection, how.bye), { type: "timer", ms: NEGOTIATE_MS }],
  };
}

/** The one that serves goes on. */
function dropNext(state: Replacing, how: { readonly bye: boolean }): NegotiationStep {
  const { wanted, attempt, connection } = state;
  return {
    state: { wanted, attempt: attempt + 1, phase: "open", connection },
    effects: [close(state.next, how.bye), { type: "timer", ms: STEADY_MS }],
  };
}

function renew(state: NegotiationState, connection: string, next: string): NegotiationStep {
  const { wanted, attempt } = state;
  return {
    state: { wanted, attempt, phase: "reoffering", connection, next },
    effects: [
      { type: "offer", connection: next, replaces: connection },
      { type: "timer", ms: NEGOTIATE_MS },
    ],
  };
}

function offer(state: NegotiationState, connection: string): NegotiationStep {
  const { wanted, attempt } = state;
  return {
    state: { wanted, attempt, phase: "offering", connection },
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
  if (state.phase === "resting") return [];
  const next = isReplacing(state) ? [close(state.next, bye)] : [];
  return [...next, close(state.connection, bye)];
}

function close(connection: string, bye: boolean): NegotiationEffect {
  return { type: "close", connection, bye };
}

function stay(state: NegotiationState): NegotiationStep {
  return { state, effects: [] };
}

// The signaling session as a pure machine. Every state has at most one timer, so a `timer` event means what
// the state says: give up a handshake, beat, or try again.
//
//   idle → connecting → greeting → open          failed: the hub refused us for good
//              ↑  └────────┴─────────┤           stopped: by the user
//              └───── waiting ←──────┘
import { CLOSE, PROTOCOL_VERSION, WaybillError, assertNever } from "../protocol/index.ts";

/** `attempt` counts failures since the session was last open for one beat; it decides the backoff. */
export type SessionState =
  | { readonly phase: "idle" }
  | { readonly phase: "connecting"; readonly attempt: number }
  | { readonly phase: "greeting"; readonly attempt: number }
  /** `asked`: a ping is out. */
  | {
      readonly phase: "open";
      readonly attempt: number;
      readonly keepAliveMs: number;
      readonly asked: boolean;
    }
  | { readonly phase: "waiting"; readonly attempt: number }
  | { readonly phase: "failed"; readonly error: WaybillError }
  | { readonly phase: "stopped" };

export type SessionEvent =
  | { readonly type: "start" }
  | { readonly type: "stop" }
  | { readonly type: "opened" }
  | { readonly type: "welcomed"; readonly protocol: number; readonly keepAliveMs: number }
  | { readonly type: "closed"; readonly code: number; readonly reason: string }
  /** The hello could not be made (no token, a broken key). */
  | { readonly type: "unprovable"; readonly error: WaybillError }
  /** `sending`: what we gave the socket has not all left it. */
  | { readonly type: "timer"; readonly silentMs: number; readonly sending: boolean };

export type SessionEffect =
  | { readonly type: "connect" }
  | { readonly type: "hello" }
  | { readonly type: "ping" }
  /** Close the socket and hear nothing more of it. */
  | { readonly type: "drop"; readonly code: number; readonly reason: string }
  /** Replaces the one timer. */
  | { readonly type: "timer"; readonly ms: number }
  /** As `timer`, with the backoff of this attempt. */
  | { readonly type: "backoff"; readonly attempt: number }
  /** Tell listeners that the connection is gone and why. */
  | { readonly type: "lost"; readonly code: number; readonly reason: string }
  | { readonly type: "fail"; readonly error: WaybillError };

export type SessionStep = {
  readonly state: SessionState;
  readonly effects: readonly SessionEffect[];
};

/** For TCP, TLS and the upgrade, and again for hello and welcome; a hub under load answers far sooner. */
export const HANDSHAKE_MS = 10_000;
const HANDSHAKE = { type: "timer", ms: HANDSHAKE_MS } as const;

/** What follows on an event; performs nothing. */
export function nextSession(state: SessionState, event: SessionEvent): SessionStep {
  if (event.type === "stop") return stop(state);
  switch (state.phase) {
    case "idle":
      return event.type === "start" ? connect(0) : stay(state);
    case "failed":
      // Started again by its owner, say with a fresh token.
      return event.type === "start" ? connect(0) : stay(state);
    case "stopped":
      return stay(state);
    case "waiting":
      return event.type === "timer" ? connect(state.attempt) : stay(state);
    case "connecting":
    case "greeting":
    case "open":
      return connected(state, event);
    default:
      return assertNever(state);
  }
}

type Connected = Extract<SessionState, { phase: "connecting" | "greeting" | "open" }>;

function connected(state: Connected, event: Exclude<SessionEvent, { type: "stop" }>): SessionStep {
  switch (event.type) {
    case "start":
      return stay(state);
    case "opened":
      return state.phase === "connecting"
        ? {
            state: { phase: "greeting", attempt: state.attempt },
            effects: [{ type: "hello" }, HANDSHAKE],
          }
        : stay(state);
    case "unprovable":
      return fail(event.error, true);
    case "welcomed":
      return state.phase === "greeting" ? welcome(state.attempt, event) : stay(state);
    case "closed":
      return closed(state.attempt, event.code, event.reason);
    case "timer":
      return timer(state, event);
    default:
      return assertNever(event);
  }
}

function welcome(attempt: number, event: Extract<SessionEvent, { type: "welcomed" }>): SessionStep {
  if (event.protocol !== PROTOCOL_VERSION) {
    const text = `the hub speaks protocol ${event.protocol}, this program ${PROTOCOL_VERSION}`;
    return fail(new WaybillError("unsupported_version", text, { hint: UPGRADE }), true);
  }
  return {
    state: { phase: "open", attempt, keepAliveMs: event.keepAliveMs, asked: false },
    effects: [{ type: "timer", ms: beatMs(event.keepAliveMs) }],
  };
}

function timer(
  state: Connected,
  { silentMs, sending }: Extract<SessionEvent, { type: "timer" }>,
): SessionStep {
  if (state.phase !== "open")
    return retry(state.attempt, 0, "the hub did not answer in time", true);
  const { keepAliveMs, asked } = state;
  // Behind much else that leaves slowly, a ping may be late.
  const limitMs = asked && !sending ? answerMs(keepAliveMs) : 2 * keepAliveMs;
  if (silentMs >= limitMs) {
    const reason = `nothing heard from the hub for ${Math.round(silentMs)} ms`;
    return retry(state.attempt, CLOSE.idle, reason, true);
  }
  if (asked) {
    const restMs = beatMs(keepAliveMs) - answerMs(keepAliveMs);
    return { state: { ...state, asked: false }, effects: [{ type: "timer", ms: restMs }] };
  }
  // Open for a whole beat: what was counted before is over.
  return {
    state: { ...state, attempt: 0, asked: true },
    effects: [{ type: "ping" }, { type: "timer", ms: answerMs(keepAliveMs) }],
  };
}

function closed(attempt: number, code: number, reason: string): SessionStep {
  const said = reason === "" ? "" : `: ${reason}`;
  if (code === CLOSE.unauthorized) {
    const hint = "join the room again with `waybill room join`, or check WAYBILL_TOKEN";
    return fail(new WaybillError("unauthorized", `the hub refused this peer${said}`, { hint }));
  }
  if (code === CLOSE.unsupportedVersion) {
    const text = `the hub does not speak protocol ${PROTOCOL_VERSION}${said}`;
    return fail(new WaybillError("unsupported_version", text, { hint: UPGRADE }));
  }
  if (code === CLOSE.replaced) {
    // Two processes that share an identity and instance would replace each other for ever.
    const text = "another process has connected to the hub with the same key and instance";
    const hint = "stop one of them, or give each its own data directory";
    return fail(new WaybillError("conflict", text, { hint }));
  }
  return retry(attempt, code, reason, false);
}

const UPGRADE = "bring hub and clients to the same version";

function connect(attempt: number): SessionStep {
  return {
    state: { phase: "connecting", attempt },
    effects: [{ type: "connect" }, HANDSHAKE],
  };
}

function retry(attempt: number, code: number, reason: string, drop: boolean): SessionStep {
  return {
    state: { phase: "waiting", attempt: attempt + 1 },
    effects: [
      ...(drop ? [{ type: "drop", code: CLOSE.idle, reason } as const] : []),
      { type: "backoff", attempt },
      { type: "lost", code, reason },
    ],
  };
}

function fail(error: WaybillError, drop = false): SessionStep {
  return {
    state: { phase: "failed", error },
    effects: [
      ...(drop ? [{ type: "drop", code: 1000, reason: "" } as const] : []),
      { type: "fail", error },
    ],
  };
}

function stop(state: SessionState): SessionStep {
  if (state.phase === "stopped") return stay(state);
  return {
    state: { phase: "stopped" },
    effects: [{ type: "drop", code: 1000, reason: "leaving" }],
  };
}

/** Twice per keep-alive time, so that one lost beat does not look like silence to the hub. */
function beatMs(keepAliveMs: number): number {
  return keepAliveMs / 2;
}

/** Five of fifteen seconds: a round trip, and what other traffic on a bad line adds to one. */
function answerMs(keepAliveMs: number): number {
  return keepAliveMs / 3;
}

function stay(state: SessionState): SessionStep {
  return { state, effects: [] };
}

// The signaling session as a pure machine. Every state has at most one timer, so a `timer` event means what
// the state says: give up a handshake, beat, or try again.
//
//   idle → connecting → greeting → open          failed: the hub refused us for good
//              ↑  └────────┴─────────┤           stopped: by the user
//              └───── waiting ←──────┘
import { CLOSE, PROTOCOL_VERSION, WaybillError, assertNever } from "../protocol/index.ts";

/**
 * What carries the session. `failures`: how often in a row a WebSocket did not open, or was cut at once. From the
 * second on it is found out whether HTTP works (`http`); when a WebSocket fails all the same, and three have, long
 * polling is tried. Where that fails, too, the hub is away, and everything begins with WebSockets again.
 */
export type Way = {
  readonly transport: "websocket" | "polling";
  readonly failures: number;
  readonly http: boolean;
};

/** `attempt` counts failures since the session was last open for one beat; it decides the backoff. */
export type SessionState =
  | { readonly phase: "idle" }
  | { readonly phase: "connecting"; readonly attempt: number; readonly way: Way }
  | { readonly phase: "greeting"; readonly attempt: number; readonly way: Way }
  /** `asked`: a ping is out. */
  | {
      readonly phase: "open";
      readonly attempt: number;
      readonly way: Way;
      readonly keepAliveMs: number;
      readonly asked: boolean;
    }
  | { readonly phase: "waiting"; readonly attempt: number; readonly way: Way }
  | { readonly phase: "failed"; readonly error: WaybillError }
  | { readonly phase: "stopped" };

export type SessionEvent =
  | { readonly type: "start" }
  | { readonly type: "stop" }
  | { readonly type: "opened" }
  | { readonly type: "welcomed"; readonly protocol: number; readonly keepAliveMs: number }
  /** `openMs`: how long the connection was open. */
  | {
      readonly type: "closed";
      readonly code: number;
      readonly reason: string;
      readonly openMs: number;
    }
  /** A WebSocket that has said hello is the session's connection now (upgrade-state.ts). */
  | { readonly type: "tookOver" }
  /** The hub has answered a request. */
  | { readonly type: "httpWorks" }
  /** The hello could not be made (no token, a broken key). */
  | { readonly type: "unprovable"; readonly error: WaybillError }
  /** `sending`: what we gave the socket has not all left it. */
  | { readonly type: "timer"; readonly silentMs: number; readonly sending: boolean };

export type SessionEffect =
  | { readonly type: "connect"; readonly transport: Way["transport"] }
  /** Find out whether the hub answers requests. */
  | { readonly type: "probe" }
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
/** A WebSocket that lived longer was not cut by a network that forbids them. */
const CUT_MS = 10_000;
const MAX_FAILURES = 3;
const FIRST_WAY: Way = { transport: "websocket", failures: 0, http: false };
/** Some networks let WebSockets live for a while: one cut is enough to leave them again. */
const ON_PROBATION: Way = { transport: "websocket", failures: MAX_FAILURES - 1, http: true };
const HANDSHAKE = { type: "timer", ms: HANDSHAKE_MS } as const;

/** What follows on an event; performs nothing. */
export function nextSession(state: SessionState, event: SessionEvent): SessionStep {
  if (event.type === "stop") return stop(state);
  switch (state.phase) {
    case "idle":
      return event.type === "start" ? connect(0, FIRST_WAY) : stay(state);
    case "failed":
      // Started again by its owner, say with a fresh token.
      return event.type === "start" ? connect(0, FIRST_WAY) : stay(state);
    case "stopped":
      return stay(state);
    case "waiting":
      if (event.type === "httpWorks") return heard(state);
      return event.type === "timer" ? connect(state.attempt, state.way) : stay(state);
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
            state: { phase: "greeting", attempt: state.attempt, way: state.way },
            effects: [{ type: "hello" }, HANDSHAKE],
          }
        : stay(state);
    case "unprovable":
      return fail(event.error, true);
    case "welcomed":
      return state.phase === "greeting" ? welcome(state, event) : stay(state);
    case "tookOver":
      return state.phase === "open"
        ? {
            state: { phase: "greeting", attempt: state.attempt, way: ON_PROBATION },
            effects: [HANDSHAKE],
          }
        : stay(state);
    case "httpWorks":
      return heard(state);
    case "closed":
      return closed(state, event);
    case "timer":
      return timer(state, event);
    default:
      return assertNever(event);
  }
}

function heard(state: Connected | Extract<SessionState, { phase: "waiting" }>): SessionStep {
  const { way } = state;
  return way.failures === 0 ? stay(state) : stay({ ...state, way: { ...way, http: true } });
}

function welcome(
  { attempt, way }: Connected,
  event: Extract<SessionEvent, { type: "welcomed" }>,
): SessionStep {
  if (event.protocol !== PROTOCOL_VERSION) {
    const text = `the hub speaks protocol ${event.protocol}, this program ${PROTOCOL_VERSION}`;
    return fail(new WaybillError("unsupported_version", text, { hint: UPGRADE }), true);
  }
  return {
    state: { phase: "open", attempt, way, keepAliveMs: event.keepAliveMs, asked: false },
    effects: [{ type: "timer", ms: beatMs(event.keepAliveMs) }],
  };
}

function timer(
  state: Connected,
  { silentMs, sending }: Extract<SessionEvent, { type: "timer" }>,
): SessionStep {
  const { attempt, way } = state;
  if (state.phase !== "open") {
    return retry(attempt, worse(way), 0, "the hub did not answer in time", true);
  }
  const { keepAliveMs, asked } = state;
  // Behind much else that leaves slowly, a ping may be late.
  const limitMs = asked && !sending ? answerMs(keepAliveMs) : 2 * keepAliveMs;
  if (silentMs >= limitMs) {
    const reason = `nothing heard from the hub for ${Math.round(silentMs)} ms`;
    return retry(attempt, way, CLOSE.idle, reason, true);
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

function closed(
  state: Connected,
  { code, reason, openMs }: Extract<SessionEvent, { type: "closed" }>,
): SessionStep {
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
  return retry(state.attempt, wayAfter(state, code, openMs), code, reason, false);
}

function wayAfter({ phase, way }: Connected, code: number, openMs: number): Way {
  const isGood = isOfHub(code) || (phase === "open" && openMs >= CUT_MS);
  return isGood ? { ...way, failures: 0, http: false } : worse(way);
}

function worse({ transport, failures, http }: Way): Way {
  if (transport === "polling") return FIRST_WAY;
  return failures + 1 < MAX_FAILURES || !http
    ? { transport, failures: failures + 1, http }
    : { transport: "polling", failures: 0, http: false };
}

/** A network that cuts says nothing, or 1001 to 1006; these codes only a hub has (signaling.md §1). */
function isOfHub(code: number): boolean {
  return code >= 4000 || code === 1008 || code === 1009 || code === 1011 || code === 1013;
}

const UPGRADE = "bring hub and clients to the same version";

function connect(attempt: number, way: Way): SessionStep {
  return {
    state: { phase: "connecting", attempt, way },
    effects: [{ type: "connect", transport: way.transport }, HANDSHAKE],
  };
}

function retry(
  attempt: number,
  way: Way,
  code: number,
  reason: string,
  drop: boolean,
): SessionStep {
  const isDoubtful = way.failures >= MAX_FAILURES - 1 && !way.http;
  return {
    state: { phase: "waiting", attempt: attempt + 1, way },
    effects: [
      ...(drop ? [{ type: "drop", code: CLOSE.idle, reason } as const] : []),
      { type: "backoff", attempt },
      ...(isDoubtful ? [{ type: "probe" } as const] : []),
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

// Back from long polling to a WebSocket, as a pure machine beside the session's own: a second connection is tried
// while the first one works, and must stay alive for a while before it says hello, because there are networks that
// let WebSockets open and cut them a moment later.
//
//   off ─begin─▶ resting ─60 s─▶ opening ─▶ proving ─8 s─▶ greeting ─welcomed─▶ off, taken over
//                   ↑               └───────────┴──── closed ───┘
import { assertNever } from "../protocol/index.ts";

export type UpgradeState = {
  readonly phase: "off" | "resting" | "opening" | "proving" | "greeting";
};

export type UpgradeEvent =
  /** The session is open by long polling. */
  | { readonly type: "begin" }
  /** The session is not, any more. */
  | { readonly type: "end" }
  | { readonly type: "opened" }
  | { readonly type: "closed" }
  | { readonly type: "welcomed" }
  /** The hub has closed the first connection in favour of the second. */
  | { readonly type: "superseded" }
  | { readonly type: "timer" };

export type UpgradeEffect =
  | { readonly type: "connect" }
  | { readonly type: "hello" }
  | { readonly type: "drop" }
  /** The second connection is the session's from now on. */
  | { readonly type: "takeOver" }
  /** Replaces the upgrade's one timer. */
  | { readonly type: "timer"; readonly ms: number };

export type UpgradeStep = {
  readonly state: UpgradeState;
  readonly effects: readonly UpgradeEffect[];
};

/** Long polling costs the hub and the battery more than a WebSocket, and one more try costs little. */
export const UPGRADE_EVERY_MS = 60_000;
/** Longer than the few seconds after which such networks cut, and less than the hub waits for a hello (signaling.md §2). */
export const PROVE_MS = 8000;
/** As the session's own. */
const HANDSHAKE_MS = 10_000;

/** What follows on an event; performs nothing. */
export function nextUpgrade(state: UpgradeState, event: UpgradeEvent): UpgradeStep {
  const { phase } = state;
  switch (event.type) {
    case "begin":
      return phase === "off" ? rest(false) : stay(state);
    case "end":
      return phase === "off" ? stay(state) : { state: OFF, effects: dropIf(phase !== "resting") };
    case "opened":
      return phase === "opening" ? to("proving", PROVE_MS) : stay(state);
    case "closed":
      return isTrying(phase) ? rest(false) : stay(state);
    case "welcomed":
    case "superseded":
      return phase === "greeting" ? { state: OFF, effects: [{ type: "takeOver" }] } : stay(state);
    case "timer":
      return timer(phase);
    default:
      return assertNever(event);
  }
}

function timer(phase: UpgradeState["phase"]): UpgradeStep {
  switch (phase) {
    case "off":
      return stay(OFF);
    case "resting":
      return to("opening", HANDSHAKE_MS, "connect");
    case "opening":
    case "greeting":
      return rest(true);
    case "proving":
      return to("greeting", HANDSHAKE_MS, "hello");
    default:
      return assertNever(phase);
  }
}

const OFF: UpgradeState = { phase: "off" };

function isTrying(phase: UpgradeState["phase"]): boolean {
  return phase !== "off" && phase !== "resting";
}

function rest(drop: boolean): UpgradeStep {
  return {
    state: { phase: "resting" },
    effects: [...dropIf(drop), { type: "timer", ms: UPGRADE_EVERY_MS }],
  };
}

function to(phase: UpgradeState["phase"], ms: number, effect?: "connect" | "hello"): UpgradeStep {
  const first = effect === undefined ? [] : [{ type: effect }];
  return { state: { phase }, effects: [...first, { type: "timer", ms }] };
}

function dropIf(drop: boolean): readonly UpgradeEffect[] {
  return drop ? [{ type: "drop" }] : [];
}

function stay(state: UpgradeState): UpgradeStep {
  return { state, effects: [] };
}

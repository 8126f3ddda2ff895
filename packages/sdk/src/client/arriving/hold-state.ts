// Whether the upload of an announced push is held back, because a reader gets the bytes from this machine itself
// (docs/protocol/arriving.md §8). Pure.
//
//   announced ─▶ queued ──assigned──▶ awaited ──bytes leave──▶ serving ──all of it is there──▶ delivered ─▶ over
//                  │ queuedMs           │ begunMs               │ stallMs, blocked               │ ephemeral, or
//                  ▼                    ▼                       ▼                                ▼ we leave
//                uploading: to the store after all, and still served from here
//
// An attempt that follows another begins at `queued` or `awaited` again: it may need the bytes, too.
import { type WorkerKind, assertNever } from "../../protocol/index.ts";

export type HoldRules = {
  /** A job that no worker takes for so long keeps the bytes here: better they travel meanwhile. Infinity: they wait. */
  readonly queuedMs: number;
  /** A worker that has the job has asked for bytes by then, if it can reach us at all. */
  readonly begunMs: number;
  /** A reader at work takes bytes more often than this. */
  readonly stallMs: number;
  /** This process ends before the job does: the bytes have to be in the store by then. */
  readonly leaves: boolean;
};

export const HOLD_RULES: HoldRules = {
  queuedMs: 30_000,
  begunMs: 10_000,
  stallMs: 10_000,
  leaves: false,
};

export type HoldState = {
  readonly phase:
    | "announced"
    | "queued"
    | "awaited"
    | "serving"
    | "delivered"
    | "uploading"
    | "over";
  /** When the phase has taken too long. */
  readonly untilMs: number | undefined;
  /** The attempt that is known last. */
  readonly attempt: number;
  readonly kind: WorkerKind | undefined;
};

export type HoldEvent =
  /** The job is there, or waits again. */
  | { readonly type: "queued" }
  | { readonly type: "assigned"; readonly attempt: number; readonly kind: WorkerKind | undefined }
  /** Bytes have left for a reader. */
  | { readonly type: "served" }
  /** Nothing more can leave for a reader. */
  | { readonly type: "blocked"; readonly why: string }
  /** A reader has all of it, verified. */
  | { readonly type: "delivered" }
  /** The job is over: nobody needs the bytes any more. */
  | { readonly type: "ended" }
  | { readonly type: "tick" };

export type HoldEffect =
  | { readonly type: "upload"; readonly why: string }
  | { readonly type: "end" }
  | { readonly type: "explain"; readonly why: string };

export type HoldStep = { readonly state: HoldState; readonly effects: readonly HoldEffect[] };

export const HOLD_START: HoldState = {
  phase: "announced",
  untilMs: undefined,
  attempt: 0,
  kind: undefined,
};

export function nextHold(
  state: HoldState,
  event: HoldEvent & { readonly nowMs: number },
  rules: HoldRules = HOLD_RULES,
): HoldStep {
  if (state.phase === "uploading" || state.phase === "over") return { state, effects: [] };
  const { nowMs } = event;
  switch (event.type) {
    case "queued":
      if (state.phase === "queued") return { state, effects: [] };
      return waiting({ ...state, phase: "queued" }, nowMs + rules.queuedMs);
    case "assigned":
      return assigned(state, event, nowMs + rules.begunMs);
    case "served":
      return served(state, nowMs + rules.stallMs);
    case "blocked":
      return state.phase === "delivered" ? { state, effects: [] } : upload(state, event.why);
    case "delivered":
      return delivered(state, rules);
    case "ended":
      return {
        state: { ...state, phase: "over", untilMs: undefined },
        effects: [{ type: "end" }],
      };
    case "tick":
      if (state.untilMs === undefined || nowMs < state.untilMs) return { state, effects: [] };
      return upload(state, tooLong(state.phase, rules));
    default:
      return assertNever(event);
  }
}

function assigned(
  state: HoldState,
  { attempt, kind }: Extract<HoldEvent, { type: "assigned" }>,
  untilMs: number,
): HoldStep {
  // Told twice, or late: its bytes may be on their way.
  if (attempt <= state.attempt) return { state, effects: [] };
  const known = { ...state, attempt, kind };
  if (state.phase === "serving") return { state: known, effects: [] };
  return waiting({ ...known, phase: "awaited" }, untilMs);
}

function served(state: HoldState, untilMs: number): HoldStep {
  // Another reader after the first: it does not matter to the hold.
  if (state.phase === "delivered") return { state, effects: [] };
  const effects: HoldEffect[] =
    state.phase === "serving" ? [] : [{ type: "explain", why: "a reader has begun" }];
  return { state: { ...state, phase: "serving", untilMs }, effects };
}

function delivered(state: HoldState, rules: HoldRules): HoldStep {
  if (state.phase === "delivered") return { state, effects: [] };
  if (rules.leaves) {
    return upload(state, "all of it is there; it is stored, too, because this command ends now");
  }
  if (state.kind === "ephemeral") {
    return upload(state, "all of it is there; it is stored, too, because that worker may go away");
  }
  return {
    state: { ...state, phase: "delivered", untilMs: undefined },
    effects: [{ type: "explain", why: "all of it is there; nothing is stored" }],
  };
}

function waiting(state: HoldState, untilMs: number): HoldStep {
  return {
    state: { ...state, untilMs: Number.isFinite(untilMs) ? untilMs : undefined },
    effects: [],
  };
}

function upload(state: HoldState, why: string): HoldStep {
  return {
    state: { ...state, phase: "uploading", untilMs: undefined },
    effects: [{ type: "upload", why }],
  };
}

function tooLong(phase: HoldState["phase"], rules: HoldRules): string {
  const seconds = (ms: number) => `${Math.round(ms / 1000)} s`;
  if (phase === "queued") return `no worker has taken the job for ${seconds(rules.queuedMs)}`;
  if (phase === "awaited")
    return `the job's worker has asked for nothing in ${seconds(rules.begunMs)}`;
  return `no byte has left for ${seconds(rules.stallMs)}`;
}

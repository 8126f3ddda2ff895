// An upload as a pure machine: what happened goes in, what to do comes out; the runner decides nothing.
//
//   sending ──all confirmed──▶ completing ──completed──▶ done        (or, from anywhere) ──failed──▶ failed
//
// A part that travels: (read) ready ─▶ signing ─▶ signed ─▶ putting ─▶ handed ─▶ confirmed. An old or refused
// permit leads back to ready; a failure that may pass to waiting and then signed or ready; a body that is there
// already to checking. A part the store copies: queued ─▶ copying ─▶ confirmed, or unread ─▶ rereading ─▶ ready.
// `uncommitted`: all so far equals an artifact of the room in place; nothing is sent before that ends, and
// nothing at all when it never does.
import { assertNever } from "../protocol/index.ts";
import type { PartRule } from "./upload-plan.ts";
import type { Slot, UploadEffect, UploadEvent, UploadState, UploadStep } from "./upload-events.ts";
import { paceConfirmed, paceFailed, pacePath, paceTick, startPace } from "./upload-pace.ts";
import { proceed } from "./upload-proceed.ts";
import { confirm, newSlot, withSlot, withSlots } from "./upload-slots.ts";

export type {
  PartOrigin,
  PutFailure,
  UploadEffect,
  UploadEvent,
  UploadState,
  UploadStep,
} from "./upload-events.ts";

export type UploadStart = {
  readonly rule: PartRule;
  readonly totalBytes: number;
  readonly retryForMs: number;
  readonly concurrency?: number;
  readonly uncommitted?: boolean;
  /** Milliseconds of a round trip, as far as it is known. */
  readonly pathMs?: number;
};

/** Fresh permits refused in a row before the refusal is taken for an answer (wrong clocks, wrong keys). */
const MAX_REFUSALS = 3;
/** A store that refuses early and closes looks like a bad connection: then a fresh permit tells. */
const FAILURES_A_PERMIT = 2;
/** A permit that ends within this is not used any more, in milliseconds. */
const PERMIT_MARGIN_MS = 30_000;

/** Stages of a body that set out. */
const AFTER_SIGNING: ReadonlySet<string> = new Set(["putting", "handed", "waiting", "checking"]);

/** The first state and its effects. */
export function beginUpload(start: UploadStart): UploadStep {
  const { rule, totalBytes, retryForMs, concurrency, uncommitted = false, pathMs } = start;
  return proceed({
    phase: "sending",
    retryForMs,
    totalBytes,
    pace: startPace(rule, totalBytes, concurrency, pathMs),
    uncommitted,
    source: "reading",
    reads: [],
    memory: 0,
    slots: new Map(),
    copies: new Map(),
    copying: new Map(),
    confirmedBytes: 0,
    heldBytes: 0,
    copiedBytes: 0,
    compressedBytes: 0,
    retries: 0,
    sentBytes: 0,
  });
}

/** The machine. Events that come late (after the end, for a part that moved on) change nothing. */
export function nextUpload(state: UploadState, event: UploadEvent): UploadStep {
  if (state.phase === "done" || state.phase === "failed") return unchanged(state);
  switch (event.type) {
    case "read":
      return onRead(state, event);
    case "read-all":
      return state.source === "reading"
        ? proceed({ ...state, source: "read", reads: state.reads.slice(1) })
        : proceed({ ...state, reads: state.reads.slice(1) });
    case "committed":
      return proceed({ ...state, uncommitted: false });
    case "sealed":
      return onSealed(state, event.parts);
    case "adopted":
      return state.source === "asked"
        ? { state: { ...state, phase: "done" }, effects: [{ type: "finish" }] }
        : unchanged(state);
    case "signed":
      return onSigned(state, event);
    case "handed":
      return proceed(
        withSlots(state, [event.id], "putting", (slot) => ({ ...slot, stage: "handed" })),
      );
    case "put":
      return onPut(state, event);
    case "put-failed":
      return onPutFailed(state, event);
    case "waited":
      return onWaited(state, event.id, event.nowMs);
    case "checked":
      return onChecked(state, event.id, event.held);
    case "copied":
      return onCopied(state, event);
    case "reread":
      return onReread(state, event);
    case "tick":
      return onTick(state, event);
    case "completed":
      return state.phase === "completing"
        ? { state: { ...state, phase: "done" }, effects: [{ type: "finish" }] }
        : unchanged(state);
    case "failed":
      return fail(state, event.error);
    default:
      return assertNever(event);
  }
}

function onRead(
  state: UploadState,
  { id, size, plainBytes = size, origin }: Extract<UploadEvent, { type: "read" }>,
): UploadStep {
  const read = { ...state, reads: state.reads.slice(1) };
  const bytes = { size, plainBytes };
  switch (origin) {
    case "body": {
      const grown = { ...read, memory: read.memory + size };
      return proceed(withSlot(grown, id, newSlot("ready", bytes)));
    }
    case "unread":
      return proceed(withSlot(read, id, newSlot("unread", bytes)));
    case "held": {
      const { state: after, effects } = proceed(confirm(read, bytes, "held"));
      return { state: after, effects: [{ type: "release", id }, ...effects] };
    }
    case "copy":
      return proceed({ ...read, copies: new Map(read.copies).set(id, bytes) });
  }
}

function onReread(
  state: UploadState,
  { id, size }: Extract<UploadEvent, { type: "reread" }>,
): UploadStep {
  const slot = state.slots.get(id);
  if (slot?.stage !== "rereading") return unchanged(state);
  const grown = { ...state, memory: state.memory + (size ?? slot.size) - slot.size };
  return proceed(withSlot(grown, id, { ...slot, stage: "ready", size: size ?? slot.size }));
}

function onSealed(
  state: UploadState,
  parts: readonly { id: number; size: number; held: boolean }[],
): UploadStep {
  if (state.source !== "asked") return unchanged(state);
  let sealed: UploadState = { ...state, source: "sealed" };
  const effects: UploadEffect[] = [];
  for (const { id, size, held } of parts) {
    const bytes = { size, plainBytes: size };
    if (held) {
      sealed = confirm(sealed, bytes, "held");
      effects.push({ type: "release", id });
    } else {
      const grown = { ...sealed, memory: sealed.memory + size };
      sealed = withSlot(grown, id, newSlot("ready", bytes));
    }
  }
  const step = proceed(sealed);
  return { state: step.state, effects: [...effects, ...step.effects] };
}

function onSigned(
  state: UploadState,
  { ids, untilMs, pathMs }: Extract<UploadEvent, { type: "signed" }>,
): UploadStep {
  const isIdle = ![...state.slots.values()].some(({ stage }) => AFTER_SIGNING.has(stage));
  const pace = pacePath(state.pace, pathMs, isIdle && state.sentBytes === 0);
  return proceed(
    withSlots({ ...state, pace }, ids, "signing", (slot) => ({
      ...slot,
      stage: "signed",
      permitUntilMs: untilMs,
      permitFailures: 0,
    })),
  );
}

function onPut(
  state: UploadState,
  { id, startedMs, openedMs, nowMs }: Extract<UploadEvent, { type: "put" }>,
): UploadStep {
  const slot = state.slots.get(id);
  if (slot?.stage !== "putting" && slot?.stage !== "handed") return unchanged(state);
  const pace = paceConfirmed(state.pace, { size: slot.size, startedMs, openedMs, nowMs });
  return released({ ...state, pace }, id, slot, "sent");
}

function onPutFailed(
  state: UploadState,
  event: Extract<UploadEvent, { type: "put-failed" }>,
): UploadStep {
  const { id, failure, error, startedMs, openedMs, nowMs } = event;
  const slot = state.slots.get(id);
  if (slot?.stage !== "putting" && slot?.stage !== "handed") return unchanged(state);
  const since = slot.failingSinceMs ?? nowMs;
  if (failure === "final" || nowMs - since > state.retryForMs) return fail(state, error);
  const failing: Slot = { ...slot, failures: slot.failures + 1, failingSinceMs: since };
  const counted = { ...state, retries: state.retries + 1 };
  if (failure === "expired" || failure === "taken") {
    const refusals = slot.refusals + 1;
    if (refusals >= MAX_REFUSALS) return fail(state, error);
    const stage = failure === "taken" ? "checking" : "ready";
    const step = proceed(withSlot(counted, id, { ...failing, stage, refusals }));
    return failure === "taken" ? first({ type: "check", id }, step) : step;
  }
  const reset = failure === "reset";
  const pace = paceFailed(state.pace, { startedMs, openedMs, nowMs, reset });
  const waiting: Slot = {
    ...failing,
    stage: "waiting",
    refusals: 0,
    permitFailures: slot.permitFailures + 1,
  };
  const step = proceed(withSlot({ ...counted, pace }, id, waiting));
  return first({ type: "wait", id, failures: failing.failures }, step);
}

function onWaited(state: UploadState, id: number, nowMs: number): UploadStep {
  const slot = state.slots.get(id);
  if (slot?.stage !== "waiting") return unchanged(state);
  const stale =
    slot.permitUntilMs - PERMIT_MARGIN_MS < nowMs || slot.permitFailures >= FAILURES_A_PERMIT;
  return proceed(withSlot(state, id, { ...slot, stage: stale ? "ready" : "signed" }));
}

function onChecked(state: UploadState, id: number, held: boolean): UploadStep {
  const slot = state.slots.get(id);
  if (slot?.stage !== "checking") return unchanged(state);
  if (held) return released(state, id, slot, "held");
  return proceed(withSlot(state, id, { ...slot, stage: "ready" }));
}

function onCopied(
  state: UploadState,
  { ids, refused }: Extract<UploadEvent, { type: "copied" }>,
): UploadStep {
  const copying = new Map(state.copying);
  let after: UploadState = { ...state, copying };
  const effects: UploadEffect[] = [];
  for (const id of [...ids, ...refused]) {
    const bytes = copying.get(id);
    if (bytes === undefined) continue;
    copying.delete(id);
    if (refused.includes(id)) after = withSlot(after, id, newSlot("unread", bytes));
    else {
      after = confirm(after, bytes, "copied");
      effects.push({ type: "release", id });
    }
  }
  const step = proceed(after);
  return { state: step.state, effects: [...effects, ...step.effects] };
}

function onTick(
  state: UploadState,
  { nowMs, sentBytes }: Extract<UploadEvent, { type: "tick" }>,
): UploadStep {
  let signed = 0;
  const stale: number[] = [];
  for (const [id, slot] of state.slots) {
    if (slot.stage !== "signed") continue;
    signed += 1;
    if (slot.permitUntilMs - PERMIT_MARGIN_MS < nowMs) stale.push(id);
  }
  const pace = paceTick(state.pace, { nowMs, sentBytes, limited: signed > 0 });
  const resigned = withSlots(state, stale, "signed", (slot) => ({ ...slot, stage: "ready" }));
  return proceed({ ...resigned, pace, sentBytes });
}

function fail(state: UploadState, error: unknown): UploadStep {
  return { state: { ...state, phase: "failed" }, effects: [{ type: "fail", error }] };
}

/** Confirms a part that is in memory. */
function released(state: UploadState, id: number, slot: Slot, how: "sent" | "held"): UploadStep {
  const slots = new Map(state.slots);
  slots.delete(id);
  const free = { ...state, slots, memory: state.memory - slot.size };
  return first({ type: "release", id }, proceed(confirm(free, slot, how)));
}

function first(effect: UploadEffect, step: UploadStep): UploadStep {
  return { state: step.state, effects: [effect, ...step.effects] };
}

function unchanged(state: UploadState): UploadStep {
  return { state, effects: [] };
}

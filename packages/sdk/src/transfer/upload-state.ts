// An upload as a pure machine: what happened goes in, what to do comes out; the runner decides nothing.
//
//   sending ──all confirmed──▶ completing ──completed──▶ done        (or, from anywhere) ──failed──▶ failed
//
// A part that travels: (read) ready ─▶ signing ─▶ signed ─▶ putting ─▶ handed ─▶ confirmed. An old or refused
// permit leads back to ready; a failure that may pass to waiting and then signed or ready; a body that is there
// already to checking. A part the store copies: queued ─▶ copying ─▶ confirmed, or unread ─▶ rereading ─▶ ready.
// `uncommitted`: all so far equals an artifact of the room in place; nothing is sent before that ends, and
// nothing at all when it never does.
import { LIMITS, assertNever } from "../protocol/index.ts";
import type { PartRule } from "./upload-plan.ts";
import {
  type Pace,
  flightOf,
  memoryOf,
  paceConfirmed,
  paceFailed,
  paceTick,
  startPace,
} from "./upload-pace.ts";

export type UploadPhase = "sending" | "completing" | "done" | "failed";

export type SlotStage =
  | "unread"
  | "rereading"
  | "ready"
  | "signing"
  | "signed"
  | "putting"
  | "handed"
  | "waiting"
  | "checking";

export type Slot = {
  readonly stage: SlotStage;
  /** Bytes of the body. */
  readonly size: number;
  /** Bytes of the tree it stands for. */
  readonly plainBytes: number;
  /** Failures in a row, for the wait before the next try. */
  readonly failures: number;
  /** Permits refused in a row although they were fresh. */
  readonly refusals: number;
  /** When the failures began. */
  readonly failingSinceMs: number | undefined;
  /** Until when its permit is good. */
  readonly permitUntilMs: number;
  /** Failures under the permit it has. */
  readonly permitFailures: number;
};

/** Bytes of a body, and bytes of the tree it stands for. */
export type PartBytes = { readonly size: number; readonly plainBytes: number };

/** How a part of the tree comes: in memory to be sent, held by the store, copied by it, or to be read again. */
export type PartOrigin = "body" | "held" | "copy" | "unread";

export type UploadState = {
  readonly phase: UploadPhase;
  /** Gives up on a part after failures for this long. */
  readonly retryForMs: number;
  /** Bytes of the tree. */
  readonly totalBytes: number;
  readonly pace: Pace;
  /** Nothing may be sent, signed or copied yet. */
  readonly uncommitted: boolean;
  /** `reading` the tree, `read` to its end, manifest `asked` for, `sealed`: every part has come. */
  readonly source: "reading" | "read" | "asked" | "sealed";
  /** Bytes of reads under way, in order. */
  readonly reads: readonly number[];
  /** Bytes of parts that are in memory. */
  readonly memory: number;
  /** Parts that are neither confirmed nor copies, by their number in the order of reading. */
  readonly slots: ReadonlyMap<number, Slot>;
  /** Copies that are not asked for yet, and those that are. */
  readonly copies: ReadonlyMap<number, PartBytes>;
  readonly copying: ReadonlyMap<number, PartBytes>;
  /** Bytes of the tree (and the manifest) that are confirmed. */
  readonly confirmedBytes: number;
  /** Of those, the ones that were held, and those the store copied. */
  readonly heldBytes: number;
  readonly copiedBytes: number;
  /** By how much what was sent was shorter than what it stands for. */
  readonly compressedBytes: number;
  readonly retries: number;
  /** Bytes put on the wire so far. */
  readonly sentBytes: number;
};

export type UploadEvent =
  /** The next part of the tree. */
  | {
      readonly type: "read";
      readonly id: number;
      readonly size: number;
      /** Bytes of the tree it stands for; absent where they are its own. */
      readonly plainBytes?: number | undefined;
      readonly origin: PartOrigin;
    }
  /** The tree has no further part. */
  | { readonly type: "read-all" }
  /** The tree is not one the room holds: its parts may travel. */
  | { readonly type: "committed" }
  /** The manifest's parts, and nothing comes after them. */
  | {
      readonly type: "sealed";
      readonly parts: readonly { id: number; size: number; held: boolean }[];
    }
  /** All parts were found to be of an artifact the room holds: nothing has to travel. */
  | { readonly type: "adopted" }
  | {
      readonly type: "signed";
      readonly ids: readonly number[];
      readonly untilMs: number;
    }
  | { readonly type: "handed"; readonly id: number }
  | ({ readonly type: "put"; readonly id: number } & PutTimes)
  | ({
      readonly type: "put-failed";
      readonly id: number;
      readonly failure: PutFailure;
      readonly error: unknown;
    } & PutTimes)
  | { readonly type: "waited"; readonly id: number; readonly nowMs: number }
  /** What is stored where a body was refused because something is there. */
  | { readonly type: "checked"; readonly id: number; readonly held: boolean }
  | {
      readonly type: "copied";
      readonly ids: readonly number[];
      readonly refused: readonly number[];
    }
  /** Its body is there; `size`: it may be another one than before. */
  | { readonly type: "reread"; readonly id: number; readonly size?: number }
  | { readonly type: "tick"; readonly nowMs: number; readonly sentBytes: number }
  | { readonly type: "completed" }
  /** Reading, signing or completing failed for good, or the caller cancelled. */
  | { readonly type: "failed"; readonly error: unknown };

/** When a body set out, and on what. */
export type PutTimes = {
  readonly startedMs: number;
  /** When its connection was opened; `startedMs` where that is not known. */
  readonly openedMs: number;
  readonly nowMs: number;
};

/** `expired`: the permit; `taken`: another body is there; `reset`, `busy`: may work later; `final`: will not. */
export type PutFailure = "expired" | "taken" | "reset" | "busy" | "final";

export type UploadEffect =
  /** Read the next part of the tree, of about this size. */
  | { readonly type: "read"; readonly wantedBytes: number }
  | { readonly type: "seal" }
  | { readonly type: "sign"; readonly ids: readonly number[] }
  | { readonly type: "put"; readonly id: number }
  | { readonly type: "wait"; readonly id: number; readonly failures: number }
  | { readonly type: "check"; readonly id: number }
  | { readonly type: "copy"; readonly ids: readonly number[] }
  | { readonly type: "reread"; readonly id: number }
  /** The part is confirmed; its memory is free. */
  | { readonly type: "release"; readonly id: number }
  | { readonly type: "complete" }
  | { readonly type: "finish" }
  | { readonly type: "fail"; readonly error: unknown };

export type UploadStep = { readonly state: UploadState; readonly effects: readonly UploadEffect[] };

export type UploadStart = {
  readonly rule: PartRule;
  readonly totalBytes: number;
  readonly retryForMs: number;
  readonly concurrency?: number;
  readonly uncommitted?: boolean;
};

/** Reads under way: one from the disk while one is hashed. */
const MAX_READING = 2;
/** Bodies in memory: as many as one signing takes. */
const MAX_SLOTS = LIMITS.signBatch;
/** Fresh permits refused in a row before the refusal is taken for an answer (wrong clocks, wrong keys). */
const MAX_REFUSALS = 3;
/** A store that refuses early and closes looks like a bad connection: then a fresh permit tells. */
const FAILURES_A_PERMIT = 2;
/** Parts of a long push that are signed by one call while the wire is busy with others. */
const SIGN_TOGETHER = 4;
/** A permit that ends within this is not used any more, in milliseconds. */
const PERMIT_MARGIN_MS = 30_000;

/** The first state and its effects. */
export function beginUpload(start: UploadStart): UploadStep {
  const { rule, totalBytes, retryForMs, concurrency, uncommitted = false } = start;
  return proceed({
    phase: "sending",
    retryForMs,
    totalBytes,
    pace: startPace(rule, totalBytes, concurrency),
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
      return proceed(
        withSlots(state, event.ids, "signing", (slot) => ({
          ...slot,
          stage: "signed",
          permitUntilMs: event.untilMs,
          permitFailures: 0,
        })),
      );
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

/** Everything that may start now: reads, the seal, one signing, one batch of copies, puts, the completion. */
function proceed(from: UploadState): UploadStep {
  if (from.phase !== "sending") return unchanged(from);
  const effects: UploadEffect[] = [];
  let state = startReads(from, effects);
  state = startSigning(state, effects);
  state = startCopies(state, effects);
  state = startPuts(state, effects);
  const over = state.slots.size === 0 && state.copies.size === 0 && state.copying.size === 0;
  if (state.source === "sealed" && over) {
    state = { ...state, phase: "completing" };
    effects.push({ type: "complete" });
  }
  return { state, effects };
}

function startReads(from: UploadState, effects: UploadEffect[]): UploadState {
  let { memory } = from;
  const budget = memoryOf(from.pace);
  let inMemory = inMemoryCount(from) + from.reads.length;
  const fits = (size: number) =>
    inMemory === 0 ||
    (memory + sum(from.reads) + sum(reads) + size <= budget && inMemory < MAX_SLOTS);
  const reads: number[] = [];
  const again: number[] = [];
  for (const [id, slot] of from.slots) {
    // Copies that were refused and parts the store holds otherwise: before anything new.
    if (slot.stage !== "unread" || from.uncommitted || !fits(slot.size)) continue;
    memory += slot.size;
    inMemory += 1;
    again.push(id);
    effects.push({ type: "reread", id });
  }
  while (from.source === "reading" && from.reads.length + reads.length < MAX_READING) {
    const { partBytes } = from.pace;
    if (!fits(partBytes)) break;
    reads.push(partBytes);
    inMemory += 1;
    effects.push({ type: "read", wantedBytes: partBytes });
  }
  const rereading = withSlots(from, again, "unread", (slot) => ({ ...slot, stage: "rereading" }));
  const state = { ...rereading, memory, reads: [...from.reads, ...reads] };
  if (state.source !== "read" || state.reads.length > 0) return state;
  effects.push({ type: "seal" });
  return { ...state, source: "asked" };
}

/**
 * One signing at a time, of everything that is ready. A push that goes out in one wave is signed once, at its
 * end, so that a small model costs one round trip; a longer one some parts at a time, or as soon as the
 * wire has room.
 */
function startSigning(from: UploadState, effects: UploadEffect[]): UploadState {
  if (from.uncommitted) return from;
  const ready: number[] = [];
  let permitted = 0;
  for (const [id, slot] of from.slots) {
    if (slot.stage === "signing") return from;
    if (slot.stage === "ready" && ready.length < LIMITS.signBatch) ready.push(id);
    if (slot.stage === "signed" || slot.stage === "putting") permitted += slot.size;
  }
  if (ready.length === 0) return from;
  const { bytes } = flightOf(from.pace);
  const goesAtOnce = from.totalBytes <= from.pace.bounds.budgetBytes;
  const more = from.source !== "sealed" && inMemoryCount(from) < MAX_SLOTS;
  // One more than fits the wire: the next body does not wait for its permit.
  const worthIt = ready.length >= SIGN_TOGETHER || permitted < bytes + from.pace.partBytes;
  if (more && (goesAtOnce || !worthIt) && from.memory + sum(from.reads) < memoryOf(from.pace)) {
    return from;
  }
  effects.push({ type: "sign", ids: ready });
  return withSlots(from, ready, "ready", (slot) => ({ ...slot, stage: "signing" }));
}

/** One batch of copies at a time: the hub works on many of them at once. */
function startCopies(from: UploadState, effects: UploadEffect[]): UploadState {
  if (from.uncommitted || from.copies.size === 0 || from.copying.size > 0) return from;
  const copies = new Map(from.copies);
  const copying = new Map<number, PartBytes>();
  for (const [id, bytes] of from.copies) {
    if (copying.size >= LIMITS.copyBatch) break;
    copying.set(id, bytes);
    copies.delete(id);
  }
  effects.push({ type: "copy", ids: [...copying.keys()] });
  return { ...from, copies, copying };
}

function startPuts(from: UploadState, effects: UploadEffect[]): UploadState {
  const allowed = flightOf(from.pace);
  let bytes = 0;
  let bodies = 0;
  const signed: number[] = [];
  for (const [id, slot] of from.slots) {
    // What is handed over is the store's whether or not we live to hear it.
    if (slot.stage === "putting") bytes += slot.size;
    if (slot.stage === "putting" || slot.stage === "handed") bodies += 1;
    if (slot.stage === "signed") signed.push(id);
  }
  const started: number[] = [];
  for (const id of signed) {
    const size = from.slots.get(id)?.size ?? 0;
    // One body is always allowed, however large a part is.
    if (bodies >= allowed.bodies || (bytes > 0 && bytes + size > allowed.bytes)) break;
    bytes += size;
    bodies += 1;
    started.push(id);
    effects.push({ type: "put", id });
  }
  return withSlots(from, started, "signed", (slot) => ({ ...slot, stage: "putting" }));
}

function confirm(
  state: UploadState,
  { size, plainBytes }: PartBytes,
  how: "sent" | "held" | "copied",
): UploadState {
  return {
    ...state,
    confirmedBytes: state.confirmedBytes + plainBytes,
    heldBytes: state.heldBytes + (how === "held" ? plainBytes : 0),
    copiedBytes: state.copiedBytes + (how === "copied" ? plainBytes : 0),
    compressedBytes: state.compressedBytes + (how === "sent" ? plainBytes - size : 0),
  };
}

/** Confirms a part that is in memory. */
function released(state: UploadState, id: number, slot: Slot, how: "sent" | "held"): UploadStep {
  const slots = new Map(state.slots);
  slots.delete(id);
  const free = { ...state, slots, memory: state.memory - slot.size };
  return first({ type: "release", id }, proceed(confirm(free, slot, how)));
}

function newSlot(stage: SlotStage, { size, plainBytes }: PartBytes): Slot {
  return {
    stage,
    size,
    plainBytes,
    failures: 0,
    refusals: 0,
    failingSinceMs: undefined,
    permitUntilMs: Infinity,
    permitFailures: 0,
  };
}

function inMemoryCount({ slots }: UploadState): number {
  let count = 0;
  for (const { stage } of slots.values()) if (stage !== "unread") count += 1;
  return count;
}

function withSlot(state: UploadState, id: number, slot: Slot): UploadState {
  return { ...state, slots: new Map(state.slots).set(id, slot) };
}

function withSlots(
  state: UploadState,
  ids: readonly number[],
  stage: SlotStage,
  change: (slot: Slot) => Slot,
): UploadState {
  if (ids.length === 0) return state;
  const slots = new Map(state.slots);
  for (const id of ids) {
    const slot = slots.get(id);
    if (slot?.stage === stage) slots.set(id, change(slot));
  }
  return { ...state, slots };
}

function first(effect: UploadEffect, step: UploadStep): UploadStep {
  return { state: step.state, effects: [effect, ...step.effects] };
}

function unchanged(state: UploadState): UploadStep {
  return { state, effects: [] };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

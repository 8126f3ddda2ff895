// An upload as a pure machine: what happened goes in, what to do comes out; the runner decides nothing.
//
//   opening ──began──▶ sending ──all confirmed──▶ completing ──completed──▶ done
//      └────────┴───────────────┴── failed / gone ──▶ failed
//
// A part goes: (read) ready ─▶ signing ─▶ signed ─▶ putting ─▶ confirmed; an expired permit leads back to
// ready, a failure that may pass to waiting and then signed. Parts the sink already holds are confirmed as
// soon as their checksum is known (I2).
import { LIMITS, type UploadStatus, assertNever } from "../protocol/index.ts";
import type { PlannedPart, UploadLimits } from "./upload-plan.ts";

export type UploadPhase = "opening" | "sending" | "completing" | "done" | "failed";
export type SlotStage = "ready" | "signing" | "signed" | "putting" | "waiting";

type Slot = {
  readonly stage: SlotStage;
  readonly size: number;
  readonly crc32: string;
  /** Failures in a row, for the wait before the next try. */
  readonly failures: number;
  /** Permits refused in a row although they were fresh. */
  readonly refusals: number;
  /** When the failures began. */
  readonly failingSinceMs: number | undefined;
};

export type UploadState = {
  readonly phase: UploadPhase;
  readonly limits: UploadLimits;
  /** Gives up on a part after failures for this long. */
  readonly retryForMs: number;
  readonly parts: readonly PlannedPart[];
  /** `sealed`: `parts` includes the manifest's, which are known when all others were read. */
  readonly seal: "open" | "asked" | "sealed";
  /** Parts asked to be read so far. */
  readonly cursor: number;
  /** Of those, the ones not read yet. */
  readonly reading: number;
  /** Bytes of parts that are being read or in a slot. */
  readonly memory: number;
  readonly slots: ReadonlyMap<number, Slot>;
  /** What the sink held when the upload began: `all` when it was completed before; undefined until known. */
  readonly held: ReadonlyMap<string, string> | "all" | undefined;
  readonly confirmed: number;
  readonly confirmedBytes: number;
  /** Of the confirmed bytes, those the sink held already. */
  readonly savedBytes: number;
};

export type UploadEvent =
  | { readonly type: "began"; readonly status: UploadStatus }
  | { readonly type: "read"; readonly index: number; readonly crc32: string }
  | { readonly type: "sealed"; readonly parts: readonly PlannedPart[] }
  | { readonly type: "signed"; readonly indexes: readonly number[] }
  | { readonly type: "put"; readonly index: number }
  | {
      readonly type: "put-failed";
      readonly index: number;
      readonly failure: PutFailure;
      readonly error: unknown;
      readonly nowMs: number;
    }
  | { readonly type: "waited"; readonly index: number }
  | { readonly type: "completed" }
  /** Reading, signing or completing failed for good, or the caller cancelled. */
  | { readonly type: "failed"; readonly error: unknown };

/** `expired`: the permit; `passing`: may work later; `final`: will not. */
export type PutFailure = "expired" | "passing" | "final";

export type UploadEffect =
  | { readonly type: "read"; readonly index: number }
  /** All parts of the tree are read: the manifest's parts are wanted. */
  | { readonly type: "seal" }
  | { readonly type: "sign"; readonly indexes: readonly number[] }
  | { readonly type: "put"; readonly index: number }
  | { readonly type: "wait"; readonly index: number; readonly failures: number }
  /** The part is confirmed; its memory is free. */
  | { readonly type: "release"; readonly index: number }
  | { readonly type: "complete" }
  | { readonly type: "finish" }
  | { readonly type: "fail"; readonly error: unknown };

export type UploadStep = { readonly state: UploadState; readonly effects: readonly UploadEffect[] };

/** Reads under way: one from the disk while one is hashed. */
const MAX_READING = 2;
/** Fresh permits refused in a row before the refusal is taken for an answer (wrong clocks, wrong keys). */
const MAX_REFUSALS = 3;

/** Parts of a long push that are signed by one call while the wire is busy with others. */
const SIGN_TOGETHER = 4;

/** Where a part of an object is known by. */
export function partKey(key: string, part: number): string {
  return `${part}/${key}`;
}

/** The first state and its effects. */
export function beginUpload(
  parts: readonly PlannedPart[],
  options: { readonly limits: UploadLimits; readonly retryForMs: number },
): UploadStep {
  return proceed({
    phase: "opening",
    ...options,
    parts,
    seal: "open",
    cursor: 0,
    reading: 0,
    memory: 0,
    slots: new Map(),
    held: undefined,
    confirmed: 0,
    confirmedBytes: 0,
    savedBytes: 0,
  });
}

/** The machine. Events that come late (after the end, for a part that moved on) change nothing. */
export function nextUpload(state: UploadState, event: UploadEvent): UploadStep {
  if (state.phase === "done" || state.phase === "failed") return { state, effects: [] };
  switch (event.type) {
    case "began":
      return state.phase === "opening"
        ? proceed({ ...state, phase: "sending", held: heldParts(event.status) })
        : { state, effects: [] };
    case "read":
      return onRead(state, event.index, event.crc32);
    case "sealed":
      return state.seal === "sealed"
        ? { state, effects: [] }
        : proceed({ ...state, seal: "sealed", parts: [...state.parts, ...event.parts] });
    case "signed":
      return proceed(
        withSlots(state, event.indexes, "signing", (slot) => ({ ...slot, stage: "signed" })),
      );
    case "put":
      return onPut(state, event.index);
    case "put-failed":
      return onPutFailed(state, event);
    case "waited":
      return proceed(
        withSlots(state, [event.index], "waiting", (slot) => ({ ...slot, stage: "signed" })),
      );
    case "completed":
      return state.phase === "completing"
        ? { state: { ...state, phase: "done" }, effects: [{ type: "finish" }] }
        : { state, effects: [] };
    case "failed":
      return fail(state, event.error);
    default:
      return assertNever(event);
  }
}

function onRead(state: UploadState, index: number, crc32: string): UploadStep {
  const part = state.parts[index];
  if (part === undefined || state.slots.has(index)) return { state, effects: [] };
  const slot: Slot = {
    stage: "ready",
    size: part.size,
    crc32,
    failures: 0,
    refusals: 0,
    failingSinceMs: undefined,
  };
  const slots = new Map(state.slots).set(index, slot);
  return proceed({ ...state, reading: state.reading - 1, slots });
}

function onPut(state: UploadState, index: number): UploadStep {
  const slot = state.slots.get(index);
  if (slot?.stage !== "putting") return { state, effects: [] };
  const { state: after, effects } = proceed(confirm(state, index, slot, false));
  return { state: after, effects: [{ type: "release", index }, ...effects] };
}

function onPutFailed(
  state: UploadState,
  event: Extract<UploadEvent, { type: "put-failed" }>,
): UploadStep {
  const slot = state.slots.get(event.index);
  if (slot?.stage !== "putting") return { state, effects: [] };
  const since = slot.failingSinceMs ?? event.nowMs;
  const exhausted = event.nowMs - since > state.retryForMs;
  if (event.failure === "final" || exhausted) return fail(state, event.error);
  const failing = { ...slot, failures: slot.failures + 1, failingSinceMs: since };
  if (event.failure === "expired") {
    if (slot.refusals + 1 >= MAX_REFUSALS) return fail(state, event.error);
    const refused: Slot = { ...failing, stage: "ready", refusals: slot.refusals + 1 };
    return proceed({ ...state, slots: new Map(state.slots).set(event.index, refused) });
  }
  const waiting: Slot = { ...failing, stage: "waiting", refusals: 0 };
  const { state: after, effects } = proceed({
    ...state,
    slots: new Map(state.slots).set(event.index, waiting),
  });
  const wait = { type: "wait", index: event.index, failures: failing.failures } as const;
  return { state: after, effects: [wait, ...effects] };
}

function fail(state: UploadState, error: unknown): UploadStep {
  return { state: { ...state, phase: "failed" }, effects: [{ type: "fail", error }] };
}

/** Everything that may start now: skips of held parts, reads, the seal, one signing, puts, the completion. */
function proceed(from: UploadState): UploadStep {
  const effects: UploadEffect[] = [];
  let state = skipHeld(from, effects);
  state = startReads(state, effects);
  state = startSigning(state, effects);
  state = startPuts(state, effects);
  const finished = state.seal === "sealed" && state.confirmed === state.parts.length;
  if (state.phase === "sending" && finished) {
    state = { ...state, phase: "completing" };
    effects.push({ type: "complete" });
  }
  return { state, effects };
}

function skipHeld(from: UploadState, effects: UploadEffect[]): UploadState {
  const { held } = from;
  if (held === undefined || (held !== "all" && held.size === 0)) return from;
  let state = from;
  for (const [index, slot] of from.slots) {
    const part = from.parts[index];
    if (slot.stage !== "ready" || slot.failures > 0 || part === undefined) continue;
    if (held !== "all" && !isHeld(held, part, slot)) continue;
    state = confirm(state, index, slot, true);
    effects.push({ type: "release", index });
  }
  return state;
}

function startReads(from: UploadState, effects: UploadEffect[]): UploadState {
  let { cursor, reading, memory } = from;
  const { limits, parts } = from;
  for (;;) {
    const part = parts[cursor];
    if (part === undefined || reading >= MAX_READING) break;
    const inMemory = from.slots.size + reading;
    // One part always fits, or a push with a part above the budget would never begin.
    const fits = memory + part.size <= limits.memoryBytes && inMemory < limits.memoryCount;
    if (!fits && inMemory > 0) break;
    effects.push({ type: "read", index: cursor });
    cursor += 1;
    reading += 1;
    memory += part.size;
  }
  const allRead = cursor === parts.length && reading === 0;
  if (from.seal === "open" && allRead) {
    effects.push({ type: "seal" });
    return { ...from, cursor, reading, memory, seal: "asked" };
  }
  return { ...from, cursor, reading, memory };
}

/**
 * One signing at a time, of everything that is ready. A push that goes out in one wave is signed once, at its
 * end, so that a small model costs one round trip; a longer one some parts at a time, or as soon as the
 * wire has room.
 */
function startSigning(from: UploadState, effects: UploadEffect[]): UploadState {
  if (from.phase !== "sending") return from;
  const ready: number[] = [];
  let permitted = 0;
  for (const [index, slot] of from.slots) {
    if (slot.stage === "signing") return from;
    if (slot.stage === "ready" && ready.length < LIMITS.signBatch) ready.push(index);
    if (slot.stage === "signed" || slot.stage === "putting") permitted += slot.size;
  }
  if (ready.length === 0) return from;
  const readAll = from.seal === "sealed" && from.cursor === from.parts.length && from.reading === 0;
  const wireHasRoom = permitted < from.limits.flightBytes;
  const worthIt = ready.length >= SIGN_TOGETHER || wireHasRoom;
  if (!readAll && (goesAtOnce(from) || !worthIt)) return from;
  effects.push({ type: "sign", indexes: ready });
  return withSlots(from, ready, "ready", (slot) => ({ ...slot, stage: "signing" }));
}

function goesAtOnce({ parts, limits }: UploadState): boolean {
  if (parts.length >= limits.memoryCount) return false;
  return parts.reduce((sum, part) => sum + part.size, 0) <= limits.flightBytes;
}

function startPuts(from: UploadState, effects: UploadEffect[]): UploadState {
  if (from.phase !== "sending") return from;
  let bytes = 0;
  let count = 0;
  const signed: number[] = [];
  for (const [index, slot] of from.slots) {
    if (slot.stage === "putting") {
      bytes += slot.size;
      count += 1;
    }
    if (slot.stage === "signed") signed.push(index);
  }
  const started: number[] = [];
  for (const index of signed) {
    const size = from.slots.get(index)?.size ?? 0;
    // One body is always allowed, however large a part is.
    const fits = bytes + size <= from.limits.flightBytes && count < from.limits.flightCount;
    if (!fits && count > 0) break;
    bytes += size;
    count += 1;
    started.push(index);
    effects.push({ type: "put", index });
  }
  if (started.length === 0) return from;
  return withSlots(from, started, "signed", (slot) => ({ ...slot, stage: "putting" }));
}

function confirm(state: UploadState, index: number, slot: Slot, saved: boolean): UploadState {
  const slots = new Map(state.slots);
  slots.delete(index);
  return {
    ...state,
    slots,
    memory: state.memory - slot.size,
    confirmed: state.confirmed + 1,
    confirmedBytes: state.confirmedBytes + slot.size,
    savedBytes: state.savedBytes + (saved ? slot.size : 0),
  };
}

function withSlots(
  state: UploadState,
  indexes: readonly number[],
  stage: SlotStage,
  change: (slot: Slot) => Slot,
): UploadState {
  const slots = new Map(state.slots);
  for (const index of indexes) {
    const slot = slots.get(index);
    if (slot?.stage === stage) slots.set(index, change(slot));
  }
  return { ...state, slots };
}

function isHeld(held: ReadonlyMap<string, string>, part: PlannedPart, slot: Slot): boolean {
  const sum = held.get(partKey(part.key, part.part)) ?? held.get(partKey(part.key, JOINED));
  return sum === `${slot.size}:${slot.crc32}` || sum === "joined";
}

/** Stands for all parts of an object that is joined already; its completion compares their checksums. */
const JOINED = -1;

/** Checksums of what the sink holds, by part. */
function heldParts(status: UploadStatus): ReadonlyMap<string, string> | "all" {
  if (status.state === "completed") return "all";
  const held = new Map<string, string>();
  for (const object of status.objects) {
    if (object.done && object.crc32 !== undefined) {
      held.set(partKey(object.key, 0), `${object.size}:${object.crc32}`);
    }
    if (object.done && object.crc32 === undefined && object.parts.length === 0) {
      held.set(partKey(object.key, JOINED), "joined");
    }
    for (const part of object.parts) {
      held.set(partKey(object.key, part.part), `${part.size}:${part.crc32}`);
    }
  }
  return held;
}

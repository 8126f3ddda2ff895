// Everything of an upload that may start now: reads, the seal, one signing, one batch of copies, puts, the completion.
import { LIMITS } from "../protocol/index.ts";
import type { PartBytes, UploadEffect, UploadState, UploadStep } from "./upload-events.ts";
import { firstPermitsOf, flightOf, memoryOf, permitsAheadOf } from "./upload-pace.ts";
import { inMemoryCount, withSlots } from "./upload-slots.ts";

/** Reads under way: one from the disk while one is hashed. */
const MAX_READING = 2;
/** Bodies in memory: as many as one signing takes. */
const MAX_SLOTS = LIMITS.signBatch;
/** Parts of a long push that are signed by one call while the wire is busy with others. */
const SIGN_TOGETHER = 4;

/** Everything that may start now: reads, the seal, one signing, one batch of copies, puts, the completion. */
export function proceed(from: UploadState): UploadStep {
  if (from.phase !== "sending") return { state: from, effects: [] };
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
  // More than fits the wire: the next body does not wait for its permit.
  const worthIt = ready.length >= SIGN_TOGETHER || permitted < bytes + permitsAheadOf(from.pace);
  // The first ones of a far push set out together: those signed by a second call would be a round trip behind.
  const gathers =
    permitted === 0 && from.sentBytes === 0 && ready.length < firstPermitsOf(from.pace);
  if (
    more &&
    (goesAtOnce || gathers || !worthIt) &&
    from.memory + sum(from.reads) < memoryOf(from.pace)
  ) {
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

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

// The parts of an upload that are neither confirmed nor copies, and their accounting.
import type { PartBytes, Slot, SlotStage, UploadState } from "./upload-events.ts";

/** Counts a part as confirmed, by how it came to be. */
export function confirm(
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

/** A part that is not confirmed. */
export function newSlot(stage: SlotStage, { size, plainBytes }: PartBytes): Slot {
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

/** Parts that are in memory. */
export function inMemoryCount({ slots }: UploadState): number {
  let count = 0;
  for (const { stage } of slots.values()) if (stage !== "unread") count += 1;
  return count;
}

/** Sets one slot. */
export function withSlot(state: UploadState, id: number, slot: Slot): UploadState {
  return { ...state, slots: new Map(state.slots).set(id, slot) };
}

/** Changes those of the slots that are in this stage. */
export function withSlots(
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

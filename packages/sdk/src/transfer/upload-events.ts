// What happens to an upload and what it asks for: the state, events and effects of its machine (upload-state.ts).
import type { Pace } from "./upload-pace.ts";

type UploadPhase = "sending" | "completing" | "done" | "failed";

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
      /** Milliseconds of a round trip, where it is known by now. */
      readonly pathMs?: number | undefined;
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
type PutTimes = {
  readonly startedMs: number;
  /** When its connection was opened; `startedMs` where that is not known, `nowMs` where none was. */
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

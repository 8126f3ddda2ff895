// Control messages to text and back: the edge where a channel's bytes are checked, once (peer-channel.md §2).
import {
  ControlMessage,
  LIMITS,
  WaybillError,
  decodeJson,
  decodeValue,
} from "../protocol/index.ts";

const MAX_BYTES = LIMITS.controlMessageBytes;
const utf8 = new TextEncoder();

/** UTF-8 length, counted only when the text could be over `limit`; else an upper bound. */
function byteLength(text: string, limit: number): number {
  return text.length * 3 <= limit ? text.length * 3 : utf8.encode(text).byteLength;
}

/** JSON text of a message; throws `too_large` when no channel would carry it. */
export function encodeControl(message: ControlMessage): string {
  const text = JSON.stringify(message);
  if (byteLength(text, MAX_BYTES) > MAX_BYTES) {
    throw new WaybillError("too_large", `a ${message.type} message exceeds ${MAX_BYTES} bytes`);
  }
  return text;
}

/** Decodes what a data channel delivered; throws `invalid_request` or `too_large`. */
export function decodeControlText(data: unknown): ControlMessage {
  if (typeof data !== "string") {
    throw new WaybillError("invalid_request", "a binary frame on the control channel");
  }
  return decodeJson(ControlMessage, data, "a control message", MAX_BYTES);
}

/** Decodes what the hub relayed; its size is bounded by the frame it came in. */
export function decodeControlValue(value: unknown): ControlMessage {
  return decodeValue(ControlMessage, value, "a relayed control message");
}

/** Room for a message's own fields beside its events: id, job, punctuation. */
const ENVELOPE_BYTES = 256;

/**
 * Cuts a run of events (or of what is sent with them) so that each piece fits one control message. Every event fits
 * alone: it has at most `LIMITS.eventBytes`.
 */
export function splitItems<T>(items: readonly T[]): T[][] {
  const pieces: T[][] = [];
  let piece: T[] = [];
  let bytes = ENVELOPE_BYTES;
  for (const item of items) {
    // Bytes are counted exactly only for long items; short ones at three per character do no harm.
    const size = byteLength(JSON.stringify(item), 4096) + 1;
    if (piece.length > 0 && bytes + size > MAX_BYTES) {
      pieces.push(piece);
      piece = [];
      bytes = ENVELOPE_BYTES;
    }
    piece.push(item);
    bytes += size;
  }
  if (piece.length > 0) pieces.push(piece);
  return pieces;
}

// Base64 of bytes (RFC 4648 §4, with padding) where neither `Buffer` nor `Uint8Array.fromBase64` can be counted on.
import { WaybillError } from "../protocol/index.ts";

/** Arguments of one call stay far below every engine's limit. */
const PIECE_BYTES = 8192;

export function toBase64(bytes: Uint8Array): string {
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + PIECE_BYTES)));
  }
  return btoa(pieces.join(""));
}

/** Throws `invalid_request`, with `what` as the sentence's subject, when the text is not base64 in its one padded form. */
export function fromBase64(text: string, what: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch (cause) {
    throw new WaybillError("invalid_request", `${what} is not base64`, { cause });
  }
  // `atob` forgives white space, missing padding and bits beyond the last byte.
  if (btoa(binary) !== text) throw new WaybillError("invalid_request", `${what} is not base64`);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

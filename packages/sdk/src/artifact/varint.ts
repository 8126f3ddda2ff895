// Unsigned LEB128 numbers, one after the other: seven bits a byte, the lowest first, the top bit set in all bytes but
// a number's last. Only the shortest form is written or taken.
import { WaybillError } from "../protocol/index.ts";

/** Encodes safe integers from 0. */
export function encodeVarints(values: Iterable<number>): Uint8Array {
  const bytes: number[] = [];
  for (const value of values) {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new WaybillError("internal", `${value} is not a length in bytes`);
    }
    let rest = value;
    // Division instead of shifts: numbers go up to 2^53.
    while (rest >= 128) {
      bytes.push((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
    bytes.push(rest);
  }
  return Uint8Array.from(bytes);
}

/** Throws `invalid_request` for a number that is cut off, longer than needed or not below 2^53. */
export function decodeVarints(bytes: Uint8Array, what = "a list of lengths"): number[] {
  const values: number[] = [];
  let value = 0;
  let weight = 1;
  for (const byte of bytes) {
    value += (byte & 127) * weight;
    if (value > Number.MAX_SAFE_INTEGER || weight > Number.MAX_SAFE_INTEGER) {
      throw new WaybillError("invalid_request", `${what} holds a number beyond 2^53`);
    }
    if (byte >= 128) {
      weight *= 128;
      continue;
    }
    if (byte === 0 && weight > 1) {
      throw new WaybillError("invalid_request", `${what} holds a number in more bytes than needed`);
    }
    values.push(value);
    value = 0;
    weight = 1;
  }
  if (weight > 1) throw new WaybillError("invalid_request", `${what} ends within a number`);
  return values;
}

// CRC-32 of a window that moves a byte at a time: two look-ups a byte, whatever the window's length.
//
//   register of [p+1, p+1+W)  =  step(register of [p, p+W), byte p+W)  ^  leave[byte p]
//
// where `leave` holds what a byte that stands W bytes before the end contributes, which a CRC's linearity lets us take
// away. Registers are CRC-32s with all bits inverted, as they are inside every implementation.
import { crc32 } from "../platform/index.ts";
import { crc32Combine } from "./crc32-combine.ts";
import type { WeakSums } from "./weak-sums.ts";

const POLYNOMIAL = 0xedb88320;
const ENTER = makeTable();

export class RollingCrc32 {
  readonly windowBytes: number;
  readonly #leave: Int32Array;
  #register = 0;

  constructor(windowBytes: number) {
    this.windowBytes = windowBytes;
    this.#leave = leaveTable(windowBytes);
  }

  /** CRC-32 of the window, as an unsigned number. */
  get crc32(): number {
    return ~this.#register >>> 0;
  }

  /** Puts the window on `bytes[at] … bytes[at + windowBytes - 1]`. */
  start(bytes: Uint8Array, at: number): void {
    this.#register = ~crc32(bytes.subarray(at, at + this.windowBytes));
  }

  /**
   * Moves the window from `at`, byte by byte, until its CRC-32 is among `sums` or it has moved `steps` times;
   * gives how often it moved. `bytes` reaches at least to `at + windowBytes + steps`.
   */
  roll(bytes: Uint8Array, at: number, steps: number, sums: WeakSums): number {
    const { filter, filterMask } = sums;
    const leave = this.#leave;
    const enter = ENTER;
    // All indices are in bounds. That is said by casts: `?? 0` at each look-up makes this loop half as fast.
    const leaving = bytes.subarray(at, at + steps);
    const entering = bytes.subarray(at + this.windowBytes, at + this.windowBytes + steps);
    let register = this.#register;
    for (let step = 0; step < steps; step++) {
      const low = (register ^ (entering[step] as number)) & 255;
      const gone = leave[leaving[step] as number] as number;
      register = (register >>> 8) ^ (enter[low] as number) ^ gone;
      if (filter[register & filterMask] === 0 || !sums.hasRegister(register)) continue;
      this.#register = register;
      return step + 1;
    }
    this.#register = register;
    return steps;
  }
}

function makeTable(): Int32Array {
  const table = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  return table;
}

/**
 * What a byte that stands `windowBytes` before the end adds to a CRC: crc(b·M) = crc(b)·x^(8|M|) + crc(M), so
 * taking it away leaves crc(M).
 */
function leaveTable(windowBytes: number): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) =>
    crc32Combine(crc32(Uint8Array.of(byte)), 0, windowBytes),
  );
}

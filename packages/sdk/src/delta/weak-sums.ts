// The set of CRC-32s that a rolling window is compared with: a bitmap that fits a processor's cache lets 63 of 64
// positions go by, an open-addressed table answers for the rest.

/** Bits of the bitmap for each sum: one in 64 is set. */
const BITS_PER_SUM = 64;
/** 2 MiB of bitmap; beyond, its misses would cost more than the table's. */
const MAX_BITS = 2 ** 24;

export class WeakSums {
  /** Number of different sums. */
  readonly count: number;
  readonly filter: Int32Array;
  /** Bits of a register that number the filter's bits. */
  readonly filterMask: number;
  readonly #slots: Int32Array;
  #holdsZero = false;

  /** `crcs`: CRC-32s as unsigned numbers. */
  constructor(crcs: Iterable<number>) {
    const registers = new Set<number>();
    for (const crc of crcs) registers.add(~crc | 0);
    this.count = registers.size;
    const bits = Math.min(MAX_BITS, powerOfTwo(Math.max(1024, registers.size * BITS_PER_SUM)));
    this.filter = new Int32Array(bits / 32);
    this.filterMask = bits - 1;
    this.#slots = new Int32Array(powerOfTwo(Math.max(16, registers.size * 4)));
    for (const register of registers) this.#add(register);
  }

  has(crc: number): boolean {
    return this.hasRegister(~crc);
  }

  /** `register`: a CRC-32 with its bits inverted. */
  hasRegister(register: number): boolean {
    const wanted = register | 0;
    if (wanted === 0) return this.#holdsZero;
    for (let slot = this.#slotOf(wanted); ; slot = (slot + 1) & (this.#slots.length - 1)) {
      const held = this.#slots[slot] ?? 0;
      if (held === wanted) return true;
      if (held === 0) return false;
    }
  }

  #add(register: number): void {
    const bit = register & this.filterMask;
    this.filter[bit >> 5] = (this.filter[bit >> 5] ?? 0) | (1 << (bit & 31));
    if (register === 0) {
      this.#holdsZero = true;
      return;
    }
    let slot = this.#slotOf(register);
    while (this.#slots[slot] !== 0) slot = (slot + 1) & (this.#slots.length - 1);
    this.#slots[slot] = register;
  }

  /** The upper bits: the lower ones were the filter's. */
  #slotOf(register: number): number {
    return (register >>> 8) & (this.#slots.length - 1);
  }
}

function powerOfTwo(atLeast: number): number {
  return 2 ** Math.ceil(Math.log2(atLeast));
}

// The set of CRC-32s that a rolling window is compared with: a map of bytes that fits a processor's cache lets 31 of 32
// places go by, an open-addressed table answers for the rest.

/** Entries of the map for each sum: one in 32 is set. */
const ENTRIES_PER_SUM = 32;
/** Beyond 4 MiB the map's cache misses would cost more than the table's. */
const MAX_ENTRIES = 2 ** 22;

export class WeakSums {
  /** Number of different sums. */
  readonly count: number;
  /** Not 0 where a register with these low bits (`filterMask`) may be in the set. */
  readonly filter: Uint8Array;
  readonly filterMask: number;
  readonly #slots: Int32Array;
  #holdsZero = false;

  /** `crcs`: CRC-32s as unsigned numbers. */
  constructor(crcs: Iterable<number>) {
    const registers = new Set<number>();
    for (const crc of crcs) registers.add(~crc | 0);
    this.count = registers.size;
    const wanted = powerOfTwo(Math.max(1024, registers.size * ENTRIES_PER_SUM));
    this.filter = new Uint8Array(Math.min(MAX_ENTRIES, wanted));
    this.filterMask = this.filter.length - 1;
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
    this.filter[register & this.filterMask] = 1;
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

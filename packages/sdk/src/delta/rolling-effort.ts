// How much rolling a stream is worth: all of it near content that was found, ever less where nothing matches, and none
// when somebody makes it expensive on purpose.

/**
 * Windows without a match before rolling thins out: after 4·2^k of them every 2^k-th is rolled. So a file that has nothing
 * in common costs the rolling of 4 windows for each doubling of its length, and what is missed of shifted content is at
 * most a quarter of what came before it.
 */
const FULL_EFFORT_WINDOWS = 4;
const MAX_STRIDE = 64;
/**
 * CRC-32s are forged easily, and each that no digest confirms costs the hashing of a window: past this many, and four
 * times what chance gives, no window is rolled any more.
 */
const MAX_FALSE_HITS = 100;

export class RollingEffort {
  readonly #windowBytes: number;
  readonly #sums: number;
  /** Bytes since the last match. */
  #unmatched = 0;
  #passedOver = 0;
  #falseHits = 0;
  #rolledBytes = 0;

  /** `sums`: how many CRC-32s a window is compared with. */
  constructor(windowBytes: number, sums: number) {
    this.#windowBytes = windowBytes;
    this.#sums = sums;
  }

  get rolledBytes(): number {
    return this.#rolledBytes;
  }

  /** Asked once for each window that is unknown; counts those that are passed over. */
  isWorthRolling(): boolean {
    const byChance = (this.#rolledBytes * this.#sums) / 2 ** 32;
    if (this.#sums === 0 || this.#falseHits >= MAX_FALSE_HITS + 4 * byChance) return false;
    const effort = this.#unmatched / (FULL_EFFORT_WINDOWS * this.#windowBytes);
    const stride = effort < 2 ? 1 : Math.min(MAX_STRIDE, 2 ** Math.floor(Math.log2(effort)));
    this.#passedOver += 1;
    if (this.#passedOver < stride) return false;
    this.#passedOver = 0;
    return true;
  }

  rolled(bytes: number): void {
    this.#rolledBytes += bytes;
  }

  unmatched(bytes: number): void {
    this.#unmatched += bytes;
  }

  matched(): void {
    this.#unmatched = 0;
    this.#passedOver = 0;
  }

  falseHit(): void {
    this.#falseHits += 1;
  }
}

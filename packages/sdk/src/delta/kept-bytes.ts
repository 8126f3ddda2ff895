// Bytes of a stream that came in one piece and are needed with the next one.

/** Undecided bytes between pieces, in memory for two windows. */
export class KeptBytes {
  readonly #capacity: number;
  #memory: Uint8Array | undefined;
  #from = 0;
  #to = 0;

  constructor(windowBytes: number) {
    this.#capacity = 2 * windowBytes;
  }

  get bytes(): Uint8Array {
    return this.#memory?.subarray(this.#from, this.#to) ?? new Uint8Array(0);
  }

  /** Adds a piece of at most a window while at most a window is kept; gives all that is kept. */
  append(piece: Uint8Array): Uint8Array {
    if (piece.length === 0) return this.bytes;
    this.#memory ??= new Uint8Array(this.#capacity);
    if (this.#to + piece.length > this.#capacity) {
      this.#memory.copyWithin(0, this.#from, this.#to);
      this.#to -= this.#from;
      this.#from = 0;
    }
    this.#memory.set(piece, this.#to);
    this.#to += piece.length;
    return this.bytes;
  }

  /** Forgets the first of them. */
  drop(bytes: number): void {
    this.#from += bytes;
    if (this.#from === this.#to) {
      this.#from = 0;
      this.#to = 0;
    }
  }
}

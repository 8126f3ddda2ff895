/** Reusable read buffers, so that a large download makes no garbage. */

export class BufferPool {
  readonly bufferBytes: number;
  readonly #kept: number;
  readonly #free: Buffer[] = [];

  /**
   * @param bufferBytes size of each buffer
   * @param kept buffers kept when idle; more are made under load and dropped afterwards
   */
  constructor(bufferBytes: number, kept: number) {
    this.bufferBytes = bufferBytes;
    this.#kept = kept;
  }

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.bufferBytes);
  }

  give(buffer: Buffer): void {
    if (this.#free.length < this.#kept) this.#free.push(buffer);
  }
}

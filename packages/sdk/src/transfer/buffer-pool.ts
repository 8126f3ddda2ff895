// Big buffers used again and again: allocating 5 MiB per part would leave the garbage collector hundreds
// of megabytes behind (I3).

/** Hands out buffers of one size and takes them back; holds at most as many as were ever out at once. */
export class BufferPool {
  readonly bufferBytes: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];

  constructor(bufferBytes: number) {
    this.bufferBytes = bufferBytes;
  }

  take(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(this.bufferBytes);
  }

  give(buffer: Uint8Array<ArrayBuffer>): void {
    this.#free.push(buffer);
  }
}

// Buffers of frames, used again: at 100 MB/s new ones would be 1,600 a second for the collector.

/** As many as one stream's window holds; more are given back to the collector. */
const MAX_KEPT = 256;

export class FramePool {
  #kept: Uint8Array<ArrayBuffer>[] = [];

  take(bytes: number): Uint8Array<ArrayBuffer> {
    const kept = this.#kept.pop();
    return kept?.length === bytes ? kept : new Uint8Array(bytes);
  }

  give(buffer: Uint8Array<ArrayBuffer>): void {
    if (this.#kept.length < MAX_KEPT) this.#kept.push(buffer);
  }
}

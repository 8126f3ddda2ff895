// Buffers of a few sizes, used again and again: allocating megabytes for every part would leave the garbage
// collector hundreds of them behind (I3).

const MIB = 1024 * 1024;
/** Below this a buffer of its own costs nothing worth keeping. */
const POOLED_BYTES = MIB;
/** Free buffers that are kept; sizes change when the link's pace does. */
const MAX_FREE_BYTES = 48 * MIB;

export type PooledBuffer = {
  /** At least as long as was asked for. */
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** Gives it back; it is not touched any more. */
  readonly release: () => void;
};

export class SpanPool {
  /** By size, the size used last at the end. */
  readonly #free = new Map<number, Uint8Array<ArrayBuffer>[]>();
  #freeBytes = 0;

  take(size: number): PooledBuffer {
    if (size < POOLED_BYTES) return { buffer: new Uint8Array(size), release: () => undefined };
    const rounded = classOf(size);
    const list = this.#free.get(rounded) ?? [];
    this.#free.delete(rounded);
    this.#free.set(rounded, list);
    const kept = list.pop();
    if (kept !== undefined) this.#freeBytes -= rounded;
    const buffer = kept ?? new Uint8Array(rounded);
    let held = true;
    const release = () => {
      if (held) this.#give(buffer);
      held = false;
    };
    return { buffer, release };
  }

  #give(buffer: Uint8Array<ArrayBuffer>): void {
    const list = this.#free.get(buffer.length) ?? [];
    this.#free.set(buffer.length, list);
    list.push(buffer);
    this.#freeBytes += buffer.length;
    for (const [size, unused] of this.#free) {
      while (this.#freeBytes > MAX_FREE_BYTES && unused.length > 0) {
        unused.pop();
        this.#freeBytes -= size;
      }
    }
  }
}

/** Few sizes, so that parts that grow find the memory of smaller ones; pages that are never touched cost nothing. */
function classOf(size: number): number {
  if (size > 8 * MIB) return Math.ceil(size / (8 * MIB)) * 8 * MIB;
  return 2 ** Math.ceil(Math.log2(size / MIB)) * MIB;
}

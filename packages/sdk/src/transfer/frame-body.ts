// Frames that become one body: their number is known only when the last of them is made.
import { LIMITS } from "../protocol/index.ts";
import type { PooledBuffer } from "./span-pool.ts";
import type { PartBody, TreeBytes } from "./tree-bytes.ts";

/** Share of a body's buffer that is used. */
const LEAST_FULL = 0.7;

/** Frames that become one body. */
export class FrameBody {
  readonly #tree: TreeBytes;
  #memory: PooledBuffer | undefined;
  size = 0;

  constructor(tree: TreeBytes, expectedBytes: number) {
    this.#tree = tree;
    this.#memory = tree.buffer(expectedBytes);
  }

  add({ bytes }: { readonly bytes: Uint8Array }): void {
    const memory = this.#room(this.size + bytes.length);
    memory.buffer.set(bytes, this.size);
    this.size += bytes.length;
  }

  /** The bytes, which are the caller's to release now. */
  take(): PartBody {
    const { size } = this;
    let memory = this.#room(size);
    this.#memory = undefined;
    if (size < memory.buffer.length * LEAST_FULL) {
      // It is kept until it was sent: not in a buffer that is mostly empty.
      const smaller = this.#tree.buffer(size);
      smaller.buffer.set(memory.buffer.subarray(0, size));
      memory.release();
      memory = smaller;
    }
    return { bytes: memory.buffer.subarray(0, size), release: memory.release };
  }

  release(): void {
    this.#memory?.release();
    this.#memory = undefined;
  }

  #room(bytes: number): PooledBuffer {
    const memory = this.#memory;
    if (memory !== undefined && memory.buffer.length >= bytes) return memory;
    const larger = this.#tree.buffer(bytes + LIMITS.unitBytes);
    if (memory !== undefined) larger.buffer.set(memory.buffer.subarray(0, this.size));
    memory?.release();
    this.#memory = larger;
    return larger;
  }
}

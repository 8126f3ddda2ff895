// Big buffers used again and again: allocating 5 MiB per part would leave the garbage collector hundreds
// of megabytes behind (I3). They begin on a page, so that files can be written from them directly.
import { allocatePages } from "../platform/index.ts";

/** Buffers made at once: one mapping each, and transfers take as many. */
const SLAB = 4;

const MIB = 1024 * 1024;

/**
 * Bytes of shards a pull gathers before it writes them: writes of 2 MiB cost the least
 * (docs/decisions/0010-pull-writes.md), but what is gathered is lost with the process, so small artifacts take
 * 1/512 of their size, down to 1 MiB.
 */
export function gatherBytes(artifactBytes: number): number {
  return Math.max(MIB, Math.min(2 * MIB, Math.floor(artifactBytes / 512)));
}

/** Hands out buffers of one size and takes them back; holds hardly more than were ever out at once. */
export class BufferPool {
  readonly bufferBytes: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];

  constructor(bufferBytes: number) {
    this.bufferBytes = bufferBytes;
  }

  take(): Uint8Array<ArrayBuffer> {
    if (this.#free.length === 0) this.#free.push(...allocatePages(this.bufferBytes, SLAB));
    return this.#free.pop() ?? new Uint8Array(this.bufferBytes);
  }

  give(buffer: Uint8Array<ArrayBuffer>): void {
    this.#free.push(buffer);
  }
}

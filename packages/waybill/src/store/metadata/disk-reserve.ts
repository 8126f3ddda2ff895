/**
 * Space set aside for deleting: on a full disk even a DELETE must write to the log first. A file
 * of a few MiB is given up when that happens, and made again when there is room.
 */
import { closeSync, fsyncSync, openSync, rmSync, statSync, writeSync } from "node:fs";

/** Room for the log of some hundred deletions. */
const RESERVE_BYTES = 4 * 1024 * 1024;

export class DiskReserve {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Makes the reserve when it is missing; false when there is no room for it. */
  ensure(): boolean {
    if (statSync(this.#path, { throwIfNoEntry: false })?.size === RESERVE_BYTES) return true;
    const file = openSync(this.#path, "w", 0o600);
    try {
      const block = Buffer.alloc(RESERVE_BYTES);
      // Written, not just sized: a hole would reserve nothing.
      for (let at = 0; at < block.length;) at += writeSync(file, block, at);
      fsyncSync(file);
      return true;
    } catch {
      rmSync(this.#path, { force: true });
      return false;
    } finally {
      closeSync(file);
    }
  }

  /** Gives the space up; false when there was none. */
  release(): boolean {
    const there = statSync(this.#path, { throwIfNoEntry: false }) !== undefined;
    rmSync(this.#path, { force: true });
    return there;
  }
}

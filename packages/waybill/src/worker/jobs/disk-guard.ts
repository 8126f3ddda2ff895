// Watches the disk a job writes to. A trainer's output, its scratch files and its model can fill it, and on a
// full disk nothing can be told of a job any more: it is ended while its end can still be written.
import { statfs } from "node:fs/promises";

export type DiskGuardInit = {
  readonly dir: string;
  readonly minFreeBytes: number;
  readonly freeBytes: (dir: string) => Promise<number>;
  readonly intervalMs: number;
  /** Told once. */
  readonly onLow: (freeBytes: number) => void;
};

/** Room for the last events, journals and what other programs write within one look and the next. */
export const MIN_FREE_BYTES = 256 * 1024 * 1024;

export class DiskGuard {
  readonly #init: DiskGuardInit;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;

  constructor(init: DiskGuardInit) {
    this.#init = init;
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), this.#init.intervalMs);
    this.#tick();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  #tick(): void {
    this.#looking ??= this.#look()
      // A disk that cannot be asked is not known to be full.
      .catch(() => undefined)
      .finally(() => {
        this.#looking = undefined;
      });
  }

  async #look(): Promise<void> {
    const { dir, minFreeBytes, freeBytes, onLow } = this.#init;
    const free = await freeBytes(dir);
    if (free >= minFreeBytes) return;
    clearInterval(this.#timer);
    onLow(free);
  }
}

/** What this user may still write to the directory's file system. */
export async function freeBytesOf(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}

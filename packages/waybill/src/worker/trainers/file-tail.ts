// Follows a file that another process appends to. The trainer writes to a file, not to a pipe, so that a
// crash of the daemon breaks nothing; the kernel's notification makes following as quick as a pipe, and a
// slow poll stands in where file systems do not notify.
import { type FSWatcher, watch } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

export type FileTailInit = {
  readonly path: string;
  /** Takes bytes in order; the buffer is used again once it has answered. Slow answers hold up reading only. */
  readonly onChunk: (chunk: Buffer) => void | Promise<void>;
  readonly pollMs: number;
};

/** One read: a few hundred lines, so that a flood is handled in batches. */
const READ_BYTES = 64 * 1024;

/** Follows one file from its beginning. */
export class FileTail {
  readonly #init: FileTailInit;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #file: FileHandle | undefined;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #offset = 0;
  #reading: Promise<void> | undefined;
  #again = false;
  #failure: unknown;

  constructor(init: FileTailInit) {
    this.#init = init;
  }

  /** Opens the file (which must exist) and begins to follow it. */
  async start(): Promise<void> {
    this.#file = await open(this.#init.path, "r");
    try {
      this.#watcher = watch(this.#init.path, { persistent: false }, () => this.#wake());
      this.#watcher.on("error", () => this.#watcher?.close());
    } catch {
      // No inotify watches left, or a file system without them: the poll below does it.
    }
    this.#timer = setInterval(() => this.#wake(), this.#init.pollMs);
    this.#wake();
  }

  /** Reads everything that is in the file now; throws what reading or handling threw. */
  async drain(): Promise<void> {
    this.#wake();
    while (this.#reading !== undefined) await this.#reading;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async stop(): Promise<void> {
    this.#watcher?.close();
    clearInterval(this.#timer);
    this.#again = false;
    await this.#reading;
    await this.#file?.close();
    this.#file = undefined;
  }

  #wake(): void {
    this.#again = true;
    if (this.#reading !== undefined || this.#failure !== undefined) return;
    this.#reading = this.#read()
      .catch((error: unknown) => {
        this.#failure = error;
      })
      .finally(() => {
        this.#reading = undefined;
      });
  }

  async #read(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      for (;;) {
        const file = this.#file;
        if (file === undefined) return;
        const { bytesRead } = await file.read(this.#buffer, 0, READ_BYTES, this.#offset);
        if (bytesRead === 0) break;
        this.#offset += bytesRead;
        await this.#init.onChunk(this.#buffer.subarray(0, bytesRead));
      }
    }
  }
}

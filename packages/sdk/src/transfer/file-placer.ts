// Gives whole files their own names, after their bytes are on the disk: a power loss leaves no wrong file in
// place (docs/decisions/0010-pull-writes.md). Big files are flushed one by one beside the download; many small ones
// by one flush of their file system.
import { type OpenFile, TimeSlice, files } from "../platform/index.ts";

/** A file whose bytes have all been written aside. */
export type WholeFile = {
  readonly from: string;
  readonly bytes: number;
  /** Puts it in place; synchronous, so that a batch is in place at once. */
  readonly place: () => void;
};

/** Flushes under way at once: the disk takes them together, and each waits. */
const PARALLEL = 4;
/** A batch of small files: few enough that a kill leaves little to check again, many for one flush. */
const BATCH_FILES = 8192;
const BATCH_BYTES = 256 * 1024 * 1024;
/** Up to this a flush per file is cheaper than one of the file system, which others may be writing to. */
const FEW_FILES = 16;

export class FilePlacer {
  /** Any folder of the file system that is written to. */
  readonly #dir: string;
  readonly #running = new Set<Promise<void>>();
  readonly #slice = new TimeSlice();
  #batch: WholeFile[] = [];
  #batchBytes = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Takes an open file over: flushes, closes and places it. Resolves when another one may come. */
  async addOpen(whole: WholeFile, file: OpenFile): Promise<void> {
    await this.#start(async () => {
      try {
        await file.sync();
      } finally {
        await file.close();
      }
      whole.place();
    });
  }

  /** Takes a closed file; it is placed with others. Resolves when another one may come. */
  async addSmall(whole: WholeFile): Promise<void> {
    this.#batch.push(whole);
    this.#batchBytes += whole.bytes;
    if (this.#batch.length < BATCH_FILES && this.#batchBytes < BATCH_BYTES) return;
    await this.#startBatch();
  }

  /** Resolves when every file is in place; throws what kept one from it. */
  async finish(): Promise<void> {
    await this.#startBatch();
    await this.settle();
    this.#throwFailure();
  }

  /** Waits for what is under way, whatever comes of it. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  async #startBatch(): Promise<void> {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    this.#batchBytes = 0;
    await this.#start(() => this.#placeBatch(batch));
  }

  async #placeBatch(batch: readonly WholeFile[]): Promise<void> {
    const together = batch.length > FEW_FILES && (await files.flushFileSystem(this.#dir));
    for (const whole of batch) {
      if (!together) await flushOne(whole.from);
      await this.#slice.pause();
      whole.place();
    }
  }

  async #start(work: () => Promise<void>): Promise<void> {
    this.#throwFailure();
    while (this.#running.size >= PARALLEL) await Promise.race(this.#running);
    const running: Promise<void> = work()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

async function flushOne(path: string): Promise<void> {
  const file = await files.open(path, "write");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

// On a worker that keeps no checkpoints: whether what a `checkpoint` line names is there, so that a misspelt path is not found out
// about when the file is needed. A trainer may remove an older one once it has printed a newer: only the newest is looked for.
import { type NewJobEvent, messageOf } from "@waybill/sdk/protocol";
import { findCheckpoint } from "./checkpoint-stage.ts";

export type CheckpointLookInit = {
  readonly roots: readonly string[];
  readonly append: (event: NewJobEvent) => void;
};

/** Of a path, in a line of log. */
const MAX_SHOWN = 200;

export class CheckpointLook {
  readonly #init: CheckpointLookInit;
  #newest: string | undefined;
  #looking: Promise<void> | undefined;

  constructor(init: CheckpointLookInit) {
    this.#init = init;
  }

  take(path: string): void {
    this.#newest = path;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /** Resolves when nothing is being looked for. */
  async settled(): Promise<void> {
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { roots, append } = this.#init;
    for (let path = this.#newest; path !== undefined; path = this.#newest) {
      const problem = await findCheckpoint(roots, path).then(
        () => undefined,
        (error: unknown) => messageOf(error),
      );
      if (this.#newest !== path) continue;
      this.#newest = undefined;
      if (problem === undefined) continue;
      append({ type: "log", stream: "waybill", line: `checkpoint ${shorten(path)}: ${problem}` });
    }
  }
}

function shorten(path: string): string {
  return path.length > MAX_SHOWN ? `${path.slice(0, MAX_SHOWN)}…` : path;
}

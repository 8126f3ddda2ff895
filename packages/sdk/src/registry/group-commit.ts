// Group commit: edits that arrive while a conditional write is under way share the next one. Thirty-two workers
// that publish to one room at once cost two or three writes, not thirty-two, and each still gets its own answer.
//
//   run(a) ──▶ [write a]──────▶ done a
//   run(b) ───────┐ [write b+c] ─▶ done b, error c
//   run(c) ───────┘
import { WaybillError } from "../protocol/index.ts";

/** Stores what `edit` makes of the document, running it again after a lost race; `undefined` means no change. */
export type Commit<T> = (edit: (doc: T | undefined) => T | undefined) => Promise<unknown>;

/** A pure edit: the document to store (the argument itself for "no change") and the caller's result. */
export type GroupEdit<T, R> = (doc: T) => { readonly doc: T; readonly result: R };

export type GroupCommitInit<T> = {
  readonly commit: Commit<T>;
  /** The document when there is none yet. */
  readonly initial: () => T;
};

/** More waiting edits than this means the store is down: refuse rather than grow. */
const MAX_WAITING = 10_000;
/** Edits in one write; bounds how long one write can take to prepare. */
const MAX_BATCH = 512;

type Waiting<T> = {
  /** Applies the edit, remembers its outcome, answers the next document. */
  readonly apply: (doc: T) => T;
  readonly settle: () => void;
  readonly fail: (error: unknown) => void;
};

/** Coalesces the edits of one document. */
export class GroupCommit<T> {
  readonly #init: GroupCommitInit<T>;
  #waiting: Waiting<T>[] = [];
  #running = false;

  constructor(init: GroupCommitInit<T>) {
    this.#init = init;
  }

  /**
   * Queues an edit and answers its result once it is stored. Rejects with what the edit throws on the document it met,
   * with the commit's error, or with `rate_limited` when 10,000 edits wait already.
   */
  run<R>(edit: GroupEdit<T, R>): Promise<R> {
    if (this.#waiting.length >= MAX_WAITING) {
      return Promise.reject(
        new WaybillError("rate_limited", `${MAX_WAITING} edits of this document wait already`),
      );
    }
    return new Promise<R>((resolve, reject) => {
      this.#waiting.push(waiting(edit, resolve, reject));
      if (!this.#running) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#running = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      try {
        await this.#init.commit((doc) => {
          const before = doc ?? this.#init.initial();
          const after = batch.reduce((next, each) => each.apply(next), before);
          return after === before ? undefined : after;
        });
        for (const each of batch) each.settle();
      } catch (error) {
        for (const each of batch) each.fail(error);
      }
    }
    this.#running = false;
  }
}

function waiting<T, R>(
  edit: GroupEdit<T, R>,
  resolve: (result: R) => void,
  reject: (error: unknown) => void,
): Waiting<T> {
  let settle = () => reject(new WaybillError("internal", "an edit was committed before it ran"));
  return {
    apply: (doc) => {
      try {
        const edited = edit(doc);
        settle = () => resolve(edited.result);
        return edited.doc;
      } catch (error) {
        settle = () => reject(error);
        return doc;
      }
    },
    settle: () => settle(),
    fail: reject,
  };
}

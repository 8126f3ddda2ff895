// Compare-and-swap on one stored document (docs/protocol/registry.md §3): read, edit, write if unchanged, and
// again from the start when somebody else was faster (I4). Knows no storage; hubs use it, and so may a worker that
// publishes straight to the object store.
import { WaybillError } from "../protocol/index.ts";
import { type BackoffOptions, backoffMs, delay } from "../timing/index.ts";

/** A document with conditional writes. Both methods may throw `storage_failed`. */
export interface ConditionalDocument<T> {
  /** The stored document and its etag; `undefined` when there is none. */
  read(): Promise<{ readonly doc: T; readonly etag: string } | undefined>;
  /** Writes over the version `etag`, or creates when it is `undefined`; throws `precondition_failed` when that is not what is stored. */
  write(doc: T, etag: string | undefined): Promise<{ readonly etag: string }>;
}

/** What an edit wants stored (the same object for "nothing") and what its caller gets. May run several times. */
export type CasEdit<T, R> = (doc: T | undefined) => {
  readonly doc: T | undefined;
  readonly result: R;
};

export type CasOptions = BackoffOptions & {
  /** Lost races before giving up with `conflict`. */
  readonly maxTries?: number;
  readonly signal?: AbortSignal | undefined;
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
};

/** One of 100 contenders wins each round, so even the unluckiest gets through. */
const MAX_TRIES = 200;

/**
 * Applies `edit` until no other writer came between and answers its result. Throws what the edit throws,
 * `conflict` after `maxTries` lost races, and what the store throws; then the edit may or may not be stored, and
 * doing it again is safe if the edit recognises its own result.
 */
export async function casUpdate<T, R>(
  store: ConditionalDocument<T>,
  edit: CasEdit<T, R>,
  options: CasOptions = {},
): Promise<R> {
  const { maxTries = MAX_TRIES, sleep = delay, signal } = options;
  for (let attempt = 0; attempt < maxTries; attempt++) {
    signal?.throwIfAborted();
    const current = await store.read();
    const edited = edit(current?.doc);
    if (edited.doc === undefined || edited.doc === current?.doc) return edited.result;
    try {
      await store.write(edited.doc, current?.etag);
      return edited.result;
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "precondition_failed") throw error;
    }
    if (attempt > 0) {
      await sleep(backoffMs(attempt - 1, { baseMs: 4, capMs: 250, ...options }), signal);
    }
  }
  throw new WaybillError("conflict", `lost ${maxTries} races for one document`, {
    hint: "too many writers at once; try again in a moment",
  });
}

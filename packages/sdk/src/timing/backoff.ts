// How long to wait before trying again, and the waiting itself: full jitter, capped, cancellable.
import { WaybillError, isRetryable } from "../protocol/index.ts";

export type BackoffOptions = {
  /** Delay before the second try at most; doubles each time. */
  readonly baseMs?: number;
  readonly capMs?: number;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
};

/**
 * Delay before try `attempt + 1` in milliseconds: uniform between half and all of min(cap, base·2^attempt).
 * "Equal jitter" rather than full: a worker that comes back at once after a restart must not hammer.
 */
export function backoffMs(attempt: number, options: BackoffOptions = {}): number {
  const { baseMs = 100, capMs = 10_000, random = Math.random } = options;
  const ceiling = Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30));
  return ceiling / 2 + (random() * ceiling) / 2;
}

/** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(abortReason(signal));
      return;
    }
    const onAbort = () => {
      clearTimeout(timer);
      if (signal !== undefined) reject(abortReason(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** The reason of an aborted signal as an Error, so that it can be thrown. */
export function abortReason(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new DOMException(String(reason), "AbortError");
}

export type RetryOptions = BackoffOptions & {
  /**
   * Gives up when the next try would start later than this after the first; `Infinity` never gives up. A function
   * decides it for each error.
   */
  readonly forMs: number | ((error: unknown) => number);
  readonly signal?: AbortSignal | undefined;
  readonly now?: () => number;
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Told before each wait, for logs and progress. */
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
};

/** Runs `operation` until it succeeds, fails for good (not retryable) or `forMs` is over; then throws its last error. */
export async function retry<T>(
  operation: (attempt: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { now = Date.now, sleep = delay, signal } = options;
  const startMs = now();
  for (let attempt = 0; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await operation(attempt);
    } catch (error) {
      if (signal?.aborted === true || !isRetryable(error)) throw error;
      const wished = error instanceof WaybillError ? (error.retryAfterMs ?? 0) : 0;
      const waitMs = Math.max(wished, backoffMs(attempt, options));
      const forMs = typeof options.forMs === "number" ? options.forMs : options.forMs(error);
      if (now() + waitMs - startMs > forMs) throw error;
      options.onRetry?.(error, waitMs);
      await sleep(waitMs, signal);
    }
  }
}

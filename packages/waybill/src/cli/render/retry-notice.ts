// Signs of life while something cannot be reached: a line once that has lasted two seconds, and again at growing
// intervals. What passes sooner is nobody's concern.
import { WaybillError, messageOf } from "@waybill/sdk/protocol";
import type { Output } from "./output.ts";

/** What lasts longer than this is told. */
const PATIENCE_MS = 2000;
const EVERY_MS = { first: 30_000, most: 300_000 };

export type RetryNoticeInit = {
  readonly output: Pick<Output, "note" | "record">;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
};

/** Tells of one thing that fails again and again, such as the calls of a hub. */
export class RetryNotice {
  readonly #output: RetryNoticeInit["output"];
  readonly #now: () => number;
  /** Since when nothing has worked. */
  #sinceMs: number | undefined;
  #nextMs = 0;
  #everyMs = EVERY_MS.first;
  #bytes = 0;

  constructor({ output, now = Date.now }: RetryNoticeInit) {
    this.#output = output;
    this.#now = now;
  }

  /** Something failed and is tried again after `waitMs`; it has been tried for a while, and will be for another. */
  readonly failed = (
    error: unknown,
    waitMs: number,
    { elapsedMs = 0, leftMs }: { readonly elapsedMs?: number; readonly leftMs?: number } = {},
  ): void => {
    const nowMs = this.#now();
    const isFirst = this.#sinceMs === undefined;
    this.#sinceMs = Math.min(this.#sinceMs ?? nowMs, nowMs - elapsedMs);
    if (isFirst) this.#nextMs = this.#sinceMs + PATIENCE_MS;
    // The next chance to tell comes after the wait.
    if (nowMs + waitMs < this.#nextMs) return;
    const isToldBefore = this.#nextMs > this.#sinceMs + PATIENCE_MS;
    this.#nextMs = nowMs + this.#everyMs;
    this.#everyMs = Math.min(this.#everyMs * 2, EVERY_MS.most);
    const untilMs = leftMs === undefined || leftMs === Infinity ? undefined : nowMs + leftMs;
    const known = error instanceof WaybillError ? error : undefined;
    const message = messageOf(error);
    this.#output.record({
      type: "retry",
      code: known?.code ?? "internal",
      message,
      waitMs: Math.round(waitMs),
      ...(untilMs === undefined ? {} : { until: new Date(untilMs).toISOString() }),
    });
    const until = untilMs === undefined ? "" : ` until ${timeOf(untilMs)}`;
    this.#output.note(`${message}; trying again${until}`);
    if (known?.hint !== undefined && !isToldBefore) this.#output.note(`  ${known.hint}`);
  };

  /** It works. */
  readonly worked = (): void => {
    this.#sinceMs = undefined;
    this.#everyMs = EVERY_MS.first;
  };

  /** So many bytes have arrived; it works when they are more than before. */
  progressed(bytes: number): void {
    if (bytes > this.#bytes) this.worked();
    this.#bytes = bytes;
  }
}

/** Local time, as the clock on the wall shows it. */
function timeOf(ms: number): string {
  return new Date(ms).toTimeString().slice(0, 8);
}

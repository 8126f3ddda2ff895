// What a job that waits for bytes says about it: nothing while they come, a line when none has for ten seconds, and again
// every minute. Pure but for what it remembers; whoever fetches tells it the time.

export type FetchNoticeInit = {
  /** `dataset ds4` */
  readonly what: string;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
};

/** Longer than a slow request, shorter than the patience of who watches. */
const QUIET_MS = 10_000;
const AGAIN_MS = 60_000;
const MIB = 2 ** 20;

export class FetchNotice {
  readonly #what: string;
  #sinceMs: number;
  #bytes = 0;
  #total: number | undefined;
  #begun = false;
  /** Of an artifact that is still being pushed: it is given up after so long without a byte. */
  #patienceMs: number | undefined;
  #saidMs: number | undefined;

  constructor({ what, nowMs }: FetchNoticeInit) {
    this.#what = what;
    this.#sinceMs = nowMs;
  }

  /** It is this job that fetches, not another one of this worker. */
  begun(nowMs: number): void {
    this.#begun = true;
    this.#sinceMs = nowMs;
  }

  arriving(patienceMs: number): void {
    this.#patienceMs = patienceMs;
  }

  progress(bytes: number, total: number, nowMs: number): void {
    this.#total = total;
    if (bytes === this.#bytes) return;
    this.#bytes = bytes;
    this.#sinceMs = nowMs;
    this.#saidMs = undefined;
  }

  /** The line that is due, if one is. */
  look(nowMs: number): string | undefined {
    if (nowMs - this.#sinceMs < QUIET_MS) return undefined;
    if (this.#saidMs !== undefined && nowMs - this.#saidMs < AGAIN_MS) return undefined;
    this.#saidMs = nowMs;
    if (!this.#begun) {
      return `waiting for ${this.#what}: another job of this worker fetches it, or the cached copy is being looked through`;
    }
    const amount =
      this.#total === undefined ? "" : `${mib(this.#bytes)} of ${mib(this.#total)} MiB, `;
    const quiet = `waiting for ${this.#what}: ${amount}nothing since ${clock(this.#sinceMs, 19)} UTC`;
    if (this.#patienceMs === undefined) return quiet;
    const end = clock(this.#sinceMs + this.#patienceMs, 16);
    return `${quiet}; fails at ${end}; go on with \`waybill push PATH --announce\``;
  }
}

function mib(bytes: number): string {
  const value = bytes / MIB;
  return value.toFixed(value < 10 && !Number.isInteger(value) ? 1 : 0);
}

/** `04:07:08` of a time, or `04:07`. */
function clock(ms: number, end: number): string {
  return new Date(ms).toISOString().slice(11, end);
}

// How fast a transfer may go, over the day: `512K`, or `08:00,512K 19:00,10M 23:00,off`. The arithmetic is pure;
// `RateGate` is what senders and receivers wait at.
import { WaybillError } from "../protocol/index.ts";
import { delay } from "./backoff.ts";

/** From this minute of the local day on, so many bytes a second; undefined is as fast as possible. */
type Stretch = { readonly minute: number; readonly bytesPerS: number | undefined };

/** A timetable: at least one stretch, ascending. The last one goes on after midnight. */
export type RateLimit = readonly Stretch[];

/** Time that may be made up for after a pause, in one burst. */
const BURST_MS = 100;
const UNITS: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const RATE = /^(\d+(?:\.\d+)?)([KMG]?)(?:I?B)?(?:\/S)?$/;
const TIME = /^([01]?\d|2[0-3]):([0-5]\d)$/;

/**
 * Reads a rate in bytes a second (`750000`, `512K`, `1.5M`, `2G`: powers of 1024; `off`), or a timetable of
 * `HH:MM,RATE` entries in local time. Throws `invalid_request`.
 *
 * @example
 * parseRateLimit("08:00,512K 19:00,10M 23:00,off");
 */
export function parseRateLimit(text: string): RateLimit {
  const entries = text.trim().split(/\s+/);
  const [only = ""] = entries;
  if (entries.length === 1 && !only.includes(",")) {
    return [{ minute: 0, bytesPerS: parseRate(only, text) }];
  }
  const stretches = entries.map((entry): Stretch => {
    const [time = "", rate = "", ...more] = entry.split(",");
    const match = TIME.exec(time);
    if (match === null || more.length > 0) throw wrong(text);
    const minute = Number(match[1]) * 60 + Number(match[2]);
    return { minute, bytesPerS: parseRate(rate, text) };
  });
  const sorted = stretches.toSorted((a, b) => a.minute - b.minute);
  if (new Set(sorted.map(({ minute }) => minute)).size < sorted.length) throw wrong(text);
  return sorted;
}

/** The rate of the timetable at a moment of the local day, in bytes a second; undefined is no limit. */
export function rateAt(limit: RateLimit, date: Date): number | undefined {
  const minute = date.getHours() * 60 + date.getMinutes();
  return (limit.findLast((stretch) => stretch.minute <= minute) ?? limit.at(-1))?.bytesPerS;
}

/**
 * When bytes that go now are paid for: the new value of `paidMs`, and how long to wait before more may go. A
 * pause is made up for by at most a tenth of a second's bytes.
 */
export function charge(
  paidMs: number,
  bytes: number,
  { bytesPerS, nowMs }: { readonly bytesPerS: number; readonly nowMs: number },
): { readonly paidMs: number; readonly waitMs: number } {
  const paid = Math.max(paidMs, nowMs - BURST_MS) + (bytes * 1000) / bytesPerS;
  return { paidMs: paid, waitMs: Math.max(0, paid - nowMs) };
}

export type RateGateInit = {
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  readonly date?: () => Date;
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
};

/** Smallest and largest piece that goes at once: a packet's worth of calls, and no long silence. */
const MIN_PIECE_BYTES = 4 * 1024;
const MAX_PIECE_BYTES = 1024 * 1024;
/** Longest sleep, so that the next stretch of the timetable is seen when it begins. */
const MAX_SLEEP_MS = 60_000;

/** All connections of a transfer in one direction pass through one gate. */
export class RateGate {
  readonly #limit: RateLimit;
  readonly #now: () => number;
  readonly #date: () => Date;
  readonly #sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  #paidMs = Number.NEGATIVE_INFINITY;

  constructor(limit: RateLimit, init: RateGateInit = {}) {
    this.#limit = limit;
    this.#now = init.now ?? (() => performance.now());
    this.#date = init.date ?? (() => new Date());
    this.#sleep = init.sleep ?? delay;
  }

  /** Bytes to move before passing again: a tenth of a second's. */
  get pieceBytes(): number {
    const bytesPerS = rateAt(this.#limit, this.#date());
    if (bytesPerS === undefined) return MAX_PIECE_BYTES;
    return Math.max(MIN_PIECE_BYTES, Math.min(MAX_PIECE_BYTES, Math.floor(bytesPerS / 10)));
  }

  /** Counts bytes that were moved; resolves when more may be. Rejects with the signal's reason. */
  async pass(bytes: number, signal?: AbortSignal): Promise<void> {
    const bytesPerS = rateAt(this.#limit, this.#date());
    if (bytesPerS === undefined) return;
    const { paidMs, waitMs } = charge(this.#paidMs, bytes, { bytesPerS, nowMs: this.#now() });
    this.#paidMs = paidMs;
    for (let left = waitMs; left > 0; left -= MAX_SLEEP_MS) {
      if (rateAt(this.#limit, this.#date()) !== bytesPerS) {
        // Debt of a slower stretch is forgiven.
        this.#paidMs = this.#now();
        return;
      }
      await this.#sleep(Math.min(left, MAX_SLEEP_MS), signal);
    }
  }
}

function parseRate(rate: string, text: string): number | undefined {
  if (rate.toLowerCase() === "off") return undefined;
  const match = RATE.exec(rate.toUpperCase());
  const bytesPerS = Number(match?.[1]) * (UNITS[match?.[2] ?? ""] ?? 1);
  if (!(bytesPerS >= 1)) throw wrong(text);
  return Math.round(bytesPerS);
}

function wrong(text: string): WaybillError {
  return new WaybillError("invalid_request", `"${text}" is not a rate`, {
    hint: 'it looks like 512K or 10M (bytes a second), "off", or "08:00,512K 19:00,10M 23:00,off"',
  });
}

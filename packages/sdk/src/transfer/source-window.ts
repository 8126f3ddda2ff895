// How many requests a source gets at once: probed upward while its rate grows, halved when it fails
// (docs/transfer.md, rule 3). Pure.

export type SourceWindow = {
  readonly size: number;
  readonly max: number;
  /** Whether the size fits the first answer's time; beside others it is only probed. */
  readonly fitted: boolean;
  /** Steps double until one brings nothing; then they are single and rare. */
  readonly doubling: boolean;
  /** What the window and its rate were before the step that is being tried. */
  readonly before: { readonly size: number; readonly bytesPerS: number } | undefined;
  readonly epochMs: number;
  readonly epochBytes: number;
  /** No step before this. */
  readonly holdUntilMs: number;
  readonly halvedMs: number;
  /** What the server let in when it last refused more, and until when that is believed. */
  readonly ceiling: number;
  readonly ceilingUntilMs: number;
};

/** Enough to fill most links, few enough to lose little when killed. */
const START = 4;
/** Beside other sources: the end of a download waits for every shard, and few requests bring one sooner. */
const START_BESIDE = 2;
/** On long paths each connection idles for an answer's time and is slow to start: one more for every 25 ms of it. */
const MS_PER_MORE = 25;
const MOST_MORE = 4;
/** One probe: long enough for a connection to come up to speed. */
const EPOCH_MS = 1000;
/** What is left takes fewer epochs: too late for a step. */
const TAIL_EPOCHS = 2;
/** Answers that take so much longer than the path's own have waited in a queue. */
const QUEUED = 1.25;
const QUEUED_MS = 20;
/** At 1 % loss a connection has a dozen packets on its way. */
const LEAST_ON_WAY_BYTES = 64 * 1024;
/** On long paths an epoch is this many answer times. */
const EPOCH_ANSWERS = 8;
/** A step pays when it brings this share of the growth it was meant to bring. */
const WORTH = 0.25;
/** After a step that brought nothing, and after a failure. */
const HOLD_MS = 8000;
const RECOVER_MS = 2000;
/** Failures so close to each other have one cause. */
const HALVE_EVERY_MS = 1000;
/** A refusal says little about the time after the next minute. */
const CEILING_MS = 60_000;

/**
 * A window that may grow to `max`; `beside` other sources it starts smaller, and where the first answer is expected to
 * take long, larger.
 */
export function startWindow(
  max: number,
  beside: boolean,
  nowMs: number,
  answerMs?: number,
): SourceWindow {
  const start = beside ? START_BESIDE : START + moreFor(answerMs ?? 0);
  return {
    size: Math.min(start, max),
    max,
    fitted: beside,
    doubling: true,
    before: undefined,
    epochMs: nowMs,
    epochBytes: 0,
    holdUntilMs: 0,
    halvedMs: -Infinity,
    ceiling: Infinity,
    ceilingUntilMs: -Infinity,
  };
}

/** What came of a source, and how it does. */
export type Arrival = {
  readonly bytes: number;
  /** Requests under way. */
  readonly busy: number;
  /** Milliseconds to an answer's first byte, weighted; undefined before the first. */
  readonly answerMs: number | undefined;
  /** The shortest of them. */
  readonly pathMs: number | undefined;
  /** What the whole transfer still lacks. */
  readonly leftBytes: number;
  readonly nowMs: number;
};

/** Bytes came; ends the epoch when its time is over. */
export function widen(window: SourceWindow, arrival: Arrival): SourceWindow {
  const { bytes, busy, answerMs, nowMs } = arrival;
  if (!window.fitted && answerMs !== undefined) return fit(window, answerMs, nowMs);
  const epochBytes = window.epochBytes + bytes;
  const passed = nowMs - window.epochMs;
  const lastsMs = Math.max(EPOCH_MS, EPOCH_ANSWERS * (arrival.pathMs ?? 0));
  if (passed < lastsMs) return { ...window, epochBytes };
  const next = { ...window, epochMs: nowMs, epochBytes: 0 };
  // A window that is not full says nothing about its size.
  if (busy < window.size) return { ...next, before: undefined };
  const bytesPerS = (epochBytes * 1000) / passed;
  const { before } = window;
  if (before !== undefined) {
    const gain = bytesPerS / before.bytesPerS - 1;
    const meant = window.size / before.size - 1;
    if (gain < WORTH * meant) {
      const holdUntilMs = nowMs + HOLD_MS;
      return { ...next, size: before.size, doubling: false, before: undefined, holdUntilMs };
    }
  }
  const max = Math.min(window.max, nowMs < window.ceilingUntilMs ? window.ceiling : Infinity);
  const isHeld = nowMs < window.holdUntilMs || window.size >= max || isQueued(arrival, bytesPerS);
  // The end would come before new connections were up to speed, and would wait for them.
  const isTail = (arrival.leftBytes * 1000) / bytesPerS < TAIL_EPOCHS * lastsMs;
  if (isHeld || isTail) return { ...next, before: undefined };
  const size = Math.min(max, window.doubling ? window.size * 2 : window.size + 1);
  return { ...next, size, before: { size: window.size, bytesPerS } };
}

/**
 * Answers wait in the link's queue: it is full, and more connections would only fill the queue. Where each connection
 * has little on its way, loss holds it back and makes its answers late: there more of them do help.
 */
function isQueued({ answerMs, pathMs, busy }: Arrival, bytesPerS: number): boolean {
  if (answerMs === undefined || pathMs === undefined) return false;
  if ((bytesPerS / busy) * (pathMs / 1000) < LEAST_ON_WAY_BYTES) return false;
  return answerMs > QUEUED * pathMs && answerMs - pathMs > QUEUED_MS;
}

/** The first answer came: a far source gets more requests at once without a probe. */
function fit(window: SourceWindow, answerMs: number, nowMs: number): SourceWindow {
  const size = Math.max(window.size, Math.min(window.max, START + moreFor(answerMs)));
  return { ...window, size, fitted: true, epochMs: nowMs, epochBytes: 0 };
}

function moreFor(answerMs: number): number {
  return Math.min(MOST_MORE, Math.floor(answerMs / MS_PER_MORE));
}

/** The server refused a request while it served `busy` others: so many it lets in. */
export function refuseMore(window: SourceWindow, busy: number, nowMs: number): SourceWindow {
  const ceiling = Math.max(1, busy);
  const size = Math.min(window.size, ceiling);
  return { ...window, size, before: undefined, ceiling, ceilingUntilMs: nowMs + CEILING_MS };
}

/** A request failed. */
export function halve(window: SourceWindow, nowMs: number): SourceWindow {
  if (nowMs - window.halvedMs < HALVE_EVERY_MS) return window;
  return {
    ...window,
    size: Math.max(1, Math.floor(window.size / 2)),
    doubling: true,
    before: undefined,
    epochMs: nowMs,
    epochBytes: 0,
    holdUntilMs: nowMs + RECOVER_MS,
    halvedMs: nowMs,
  };
}

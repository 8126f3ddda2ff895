// How large the parts of an upload are and how many travel at once: learned from the link while it goes on.
// Pure; times come in with the facts (docs/protocol/artifact.md §7, "Pace").
//
//   careful ──first body within 0.5 s──▶ fast: the whole budget, larger parts
//      └─ every 3 s: one step up ──▶ kept if the rate grew with it, else back and hold for a while
import {
  type LinkHealth,
  FRESH_LINK,
  adviceFor,
  learnLink,
  resetAgeMs,
  suspectedAgeMs,
} from "./link-health.ts";
import type { PartRule } from "./upload-plan.ts";

const MIB = 1024 * 1024;
/** Part buffers of a push (I3): leaves a process below 200 MiB. */
const MEMORY_BYTES = 48 * MIB;
/** Fewer parts than this read ahead, and signing, which takes a round trip, would not be done for several at once. */
const LEAST_MEMORY_BYTES = 40 * MIB;
/** On a fast link more bodies at once give nothing. */
const FAST_WINDOW = 4;
const START_WINDOW = 1;
/** On a far path connections take turns to be silent. */
const FAR_START_WINDOW = 2;
/** On long paths connections are slow to start: one more for every 25 ms of the hub's answer. */
const MS_PER_MORE = 25;
const MOST_MORE = 6;
/** A path is far from here on, in milliseconds of a round trip. */
const FAR_MS = 55;
/** Parts that wait with permits there. */
const SIGNED_AHEAD = 4;
/**
 * Where one connection is slow for its distance or loss (5 MiB in more than 2 s), as many as other tools use;
 * then 24 × 5 MiB are in memory, and a kill costs half of that.
 */
const WIDE_WINDOW = 24;
/** Small bodies cost round trips rather than bytes. */
const MAX_BODIES = 24;
/** A part should take about this long: long against its round trip, short against what a reset costs. */
const PART_MS = 2000;
/** Below this a part costs so little that more at once risk nothing. */
const QUICK_MS = 500;
/** Above this a connection is so slow that more of them can hardly make it worse. */
const SLOW_MS = 8000;
/** A step up must bring this share of what it would where connections do not share the link. */
const WORTH = 0.4;
/** One that brings this share is followed by a larger one. */
const GREAT = 0.7;
/** A first body that is through in this time shows a fast link. */
const FAST_BODY_MS = 500;
/** A step is judged over this long, after another such time in which new connections fill the system's buffers. */
const PERIOD_MS = 1500;
const HOLD_MS = 30_000;
/** After failures that looked like too much load. */
const FAILURE_HOLD_MS = 5000;
/** A near path is first known for so long: one that cuts connections does it meanwhile, and little is on the way. */
const PATIENCE_MS = 10_000;
/** Share of the reset age in which parts sent at once must be through: what drains from buffers comes on top. */
const RESET_SHARE = 0.75;

type PaceBounds = {
  readonly rule: PartRule;
  /** Bodies on the wire, as bytes: what a kill can make us send again. */
  readonly budgetBytes: number;
  /** The caller's own bound of the window. */
  readonly maxWindow: number;
  /** Milliseconds of a round trip, roughly. */
  readonly pathMs: number;
};

export type Pace = {
  readonly bounds: PaceBounds;
  /** Size of the next part to cut. */
  readonly partBytes: number;
  /** Parts of that size that may be on their way at once. */
  readonly window: number;
  readonly link: LinkHealth;
  /** Whether connections are, or may be, cut at an age. */
  readonly isCut: boolean;
  /** Bytes a second over all connections, lately; undefined before the first measurement. */
  readonly bytesPerS: number | undefined;
  /** What the window before the last step gave; undefined when no step is on trial. */
  readonly trial: { readonly window: number; readonly bytesPerS: number } | undefined;
  readonly holdUntilMs: number;
  /** The first step up is taken after this; undefined before the first tick. */
  readonly patientUntilMs: number | undefined;
  /** The next measurement begins at this time: what is handed to new connections before fills buffers, not the link. */
  readonly settleUntilMs: number | undefined;
  /** Where the running measurement began. */
  readonly mark: { readonly ms: number; readonly bytes: number } | undefined;
  /** Failures of puts that began before this are of the load that was reduced already. */
  readonly reducedMs: number;
};

/**
 * The pace of a new push: one of the smallest parts at a time, and more on a far path (`pathMs`: a round trip, roughly),
 * until the link is known: what is half sent when a link breaks is lost. In flight are at most 1/64 of the push (three
 * of the smallest parts, when that is more), so that a kill costs less than 2 % from 1 GiB on.
 */
export function startPace(
  rule: PartRule,
  totalBytes: number,
  concurrency = Infinity,
  pathMs = 0,
): Pace {
  const budgetBytes = Math.max(3 * rule.minBytes, totalBytes / 64);
  return {
    bounds: { rule, budgetBytes, maxWindow: Math.max(1, concurrency), pathMs },
    partBytes: rule.minBytes,
    window: startWindow(pathMs, concurrency),
    link: FRESH_LINK,
    isCut: false,
    bytesPerS: undefined,
    trial: undefined,
    holdUntilMs: 0,
    patientUntilMs: undefined,
    settleUntilMs: undefined,
    mark: undefined,
    reducedMs: -Infinity,
  };
}

function startWindow(pathMs: number, maxWindow: number): number {
  const more = Math.min(MOST_MORE, Math.floor(pathMs / MS_PER_MORE));
  const first = pathMs < FAR_MS ? START_WINDOW : FAR_START_WINDOW + more;
  return Math.min(first, Math.max(1, maxWindow));
}

/**
 * What a later call says of the path: a first one measures a busy machine, or a connection that was open already, as well.
 * `isIdle`: no body was sent yet, and the push may begin otherwise; later only a quicker call counts.
 */
export function pacePath(pace: Pace, pathMs: number | undefined, isIdle: boolean): Pace {
  if (pathMs === undefined || (!isIdle && pathMs >= pace.bounds.pathMs)) return pace;
  const bounds = { ...pace.bounds, pathMs };
  return { ...pace, bounds, window: isIdle ? startWindow(pathMs, bounds.maxWindow) : pace.window };
}

/** What may be on the wire: bytes of bodies that are not handed over yet, and bodies at once. */
export function flightOf(pace: Pace): { bytes: number; bodies: number } {
  const { window, partBytes, bounds } = pace;
  // Where connections are cut at an age, bodies that drain would keep the others from being through before it.
  const waits = isFar(pace) || pace.isCut;
  const bodies = waits ? Math.min(window, MAX_BODIES) : MAX_BODIES;
  return { bytes: window * Math.max(partBytes, bounds.rule.minBytes), bodies };
}

/** Bytes of bodies that should wait with permits for their turn: on a far path a permit is long in coming. */
export function permitsAheadOf(pace: Pace): number {
  return (isFar(pace) ? SIGNED_AHEAD : 1) * pace.partBytes;
}

/** Parts whose permits are asked for by the first call, when there are as many. */
export function firstPermitsOf(pace: Pace): number {
  return isFar(pace) ? pace.window : 1;
}

/** Whether a connection that is warm is worth waiting for: a new one takes many round trips to come up to speed. */
function isFar({ bounds }: Pace): boolean {
  return bounds.pathMs >= FAR_MS;
}

/** Memory of bodies that are read and not confirmed: those on the wire, and as many ahead. */
export function memoryOf({ window, partBytes }: Pace): number {
  const ahead = Math.min(MEMORY_BYTES, 2 * (window + 1) * partBytes);
  return Math.max(LEAST_MEMORY_BYTES, ahead, (window + 2) * partBytes);
}

/** Age in milliseconds above which a kept connection would be cut before a part is through. */
export function connectionAgeOf(pace: Pace, nowMs: number): number | undefined {
  const ageMs = suspectedAgeMs(pace.link, nowMs);
  if (ageMs === undefined) return undefined;
  return Math.max(0, ageMs * 0.9 - partMs(pace, pace.window));
}

/** When a body set out, when its connection was opened, and when its fate was known. */
type Times = { readonly startedMs: number; readonly openedMs: number; readonly nowMs: number };

/** A body was taken. */
export function paceConfirmed(
  pace: Pace,
  { size, startedMs, openedMs, nowMs }: Times & { readonly size: number },
): Pace {
  const tookMs = nowMs - startedMs;
  let link = learnLink(pace.link, { type: "alive", ageMs: nowMs - openedMs }, nowMs);
  if (size >= MIB) link = learnLink(link, { type: "moved", bytes: size, ms: tookMs }, nowMs);
  const wholePart = size >= pace.bounds.rule.minBytes;
  const quick = tookMs < FAST_BODY_MS && wholePart;
  const window = quick ? Math.max(pace.window, fastWindow(pace, nowMs)) : pace.window;
  return resized({ ...pace, link, window }, nowMs);
}

/** The clock: `sentBytes` in all so far; `limited` when more bodies were ready than the window let out. */
export function paceTick(
  before: Pace,
  { nowMs, sentBytes, limited }: { nowMs: number; sentBytes: number; limited: boolean },
): Pace {
  const pace = { ...before, patientUntilMs: patienceOf(before, nowMs, sentBytes) };
  const { mark, settleUntilMs = nowMs + PERIOD_MS } = pace;
  if (mark === undefined) {
    const settled = nowMs >= settleUntilMs;
    return { ...pace, settleUntilMs, mark: settled ? { ms: nowMs, bytes: sentBytes } : undefined };
  }
  const elapsedMs = nowMs - mark.ms;
  const bytes = sentBytes - mark.bytes;
  if (elapsedMs < PERIOD_MS || (bytes < pace.window * 64 * 1024 && elapsedMs < 8 * PERIOD_MS)) {
    return pace;
  }
  const bytesPerS = (bytes * 1000) / elapsedMs;
  const measured = { ...pace, bytesPerS, mark: { ms: nowMs, bytes: sentBytes } };
  if (!limited || bytes === 0) return resized(measured, nowMs);
  const after = judged(measured, bytesPerS, nowMs);
  if (after.window === pace.window) return resized(after, nowMs);
  return resized({ ...after, mark: undefined, settleUntilMs: nowMs + PERIOD_MS }, nowMs);
}

/** Until when it is patient: from the first tick on that found something sent. */
function patienceOf(pace: Pace, nowMs: number, sentBytes: number): number | undefined {
  if (pace.patientUntilMs !== undefined || sentBytes === 0) return pace.patientUntilMs;
  return nowMs + (isFar(pace) ? 0 : PATIENCE_MS);
}

/** A body was not taken; `reset` when its connection died under it. */
export function paceFailed(
  pace: Pace,
  { startedMs, openedMs, nowMs, reset }: Times & { readonly reset: boolean },
): Pace {
  const before = resetAgeMs(pace.link, nowMs);
  const link = reset
    ? learnLink(pace.link, { type: "reset", ageMs: nowMs - openedMs }, nowMs)
    : learnLink(pace.link, { type: "refused", parallel: pace.window }, nowMs);
  const learned = { ...pace, link };
  if (reset && resetAgeMs(link, nowMs) !== undefined) {
    // A path that cuts every connection at an age is not one under load: what was halved for it comes back.
    const least = isFar(pace) ? FAR_START_WINDOW : START_WINDOW;
    const window = before === undefined ? Math.max(pace.window, least) : pace.window;
    return resized({ ...learned, window: Math.min(window, pace.bounds.maxWindow) }, nowMs);
  }
  if (startedMs < pace.reducedMs) return resized(learned, nowMs);
  return resized(
    {
      ...learned,
      window: Math.max(1, Math.floor(pace.window / 2)),
      trial: undefined,
      reducedMs: nowMs,
      holdUntilMs: nowMs + FAILURE_HOLD_MS,
    },
    nowMs,
  );
}

/** After a measurement at full window: keeps or takes back the last step, and maybe takes another. */
function judged(pace: Pace, bytesPerS: number, nowMs: number): Pace {
  const { trial, window } = pace;
  let share = 0;
  if (trial !== undefined) {
    share = (bytesPerS / trial.bytesPerS - 1) / (window / trial.window - 1);
    if (share < WORTH) {
      const held = { ...pace, window: trial.window, trial: undefined };
      return { ...held, holdUntilMs: nowMs + HOLD_MS };
    }
  }
  const { holdUntilMs, patientUntilMs = 0 } = pace;
  const isPatient = nowMs < patientUntilMs && bodyMs(pace, bytesPerS) < SLOW_MS;
  if (nowMs < holdUntilMs || isPatient) return { ...pace, trial: undefined };
  const wished = stepUp(pace, bytesPerS, share >= GREAT);
  const next = Math.min(wished, windowCap(pace, bytesPerS, nowMs));
  if (next <= window) return { ...pace, trial: undefined };
  return { ...pace, window: next, trial: { window, bytesPerS } };
}

/** Milliseconds that one of the smallest parts takes at this rate of all. */
function bodyMs({ window, bounds }: Pace, bytesPerS: number): number {
  return (bounds.rule.minBytes * window * 1000) / bytesPerS;
}

function stepUp(pace: Pace, bytesPerS: number, wasGreat: boolean): number {
  const { window } = pace;
  const slowMs = bodyMs(pace, bytesPerS);
  if (slowMs >= SLOW_MS) return window * 2;
  if (slowMs <= QUICK_MS) return FAST_WINDOW;
  return wasGreat ? Math.ceil(window * 1.6) : window + 1;
}

function windowCap(pace: Pace, bytesPerS: number, nowMs: number): number {
  const { maxWindow } = pace.bounds;
  const cap = bodyMs(pace, bytesPerS) > PART_MS ? WIDE_WINDOW : fastWindow(pace, nowMs);
  const { maxParallel = Infinity } = adviceFor(pace.link, nowMs);
  return Math.min(cap, maxWindow, maxParallel, resetWindow(pace, bytesPerS, nowMs));
}

/** As many smallest parts as are through before their connections are reset. */
function resetWindow(pace: Pace, bytesPerS: number | undefined, nowMs: number): number {
  const ageMs = suspectedAgeMs(pace.link, nowMs);
  if (ageMs === undefined || bytesPerS === undefined) return Infinity;
  const through = (RESET_SHARE * ageMs * bytesPerS) / 1000;
  return Math.max(1, Math.floor(through / pace.bounds.rule.minBytes));
}

function fastWindow({ bounds, link, bytesPerS }: Pace, nowMs: number): number {
  const { budgetBytes, rule, maxWindow } = bounds;
  const fitting = Math.floor(budgetBytes / rule.minBytes);
  const pace = { bounds, link, bytesPerS } as Pace;
  return Math.max(
    1,
    Math.min(FAST_WINDOW, fitting, maxWindow, resetWindow(pace, bytesPerS, nowMs)),
  );
}

/** Milliseconds a part of the smallest size takes with so many at once. */
function partMs({ bytesPerS, bounds, link }: Pace, window: number): number {
  const one = link.bytesPerS ?? (bytesPerS === undefined ? undefined : bytesPerS / window);
  return one === undefined ? PART_MS : (bounds.rule.minBytes * 1000) / one;
}

/** The part size for the window: what a connection moves in `PART_MS`, within budget and memory. */
function resized(before: Pace, nowMs: number): Pace {
  const pace = { ...before, isCut: suspectedAgeMs(before.link, nowMs) !== undefined };
  const { rule, budgetBytes } = pace.bounds;
  const window = Math.min(pace.window, resetWindow(pace, pace.bytesPerS, nowMs));
  if (rule.equalBytes !== undefined) return { ...pace, window, partBytes: rule.equalBytes };
  const { bytesPerS = 0 } = pace.link;
  const { maxRequestBytes = Infinity } = adviceFor(pace.link, nowMs);
  const wished = Math.min(
    (bytesPerS * PART_MS) / 1000,
    maxRequestBytes,
    // Parts of one size are held in the same memory again: no larger ones while there are few.
    budgetBytes / Math.max(window, FAST_WINDOW),
    MEMORY_BYTES / (Math.max(window, FAST_WINDOW) + 2),
  );
  const units = Math.floor(wished / rule.unitBytes) * rule.unitBytes;
  return { ...pace, window, partBytes: Math.max(rule.minBytes, units) };
}

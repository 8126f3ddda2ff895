// Which free sources do so badly that they hold back nobody (docs/transfer.md, rule 1). Cheap must not mean for
// ever: a free source is asked before one that costs money only while it brings bytes at a sensible rate. Pure.
import type { DownloadState } from "./download-state.ts";
import { busyRequests } from "./scheduler.ts";
import { type Lag, type SourceState, busyMeter, sourceRate } from "./source-state.ts";
import { meterRate } from "./source-meter.ts";

const KIB = 1024;
/** Asked and silent for so long. */
const SILENT_MS = 3000;
/** Slow for so long. */
const SLOW_MS = 3000;
/** Slower than this, whatever is left; and slower than that, while it would take longer than a minute. */
const FLOOR_BYTES_PER_S = 256 * KIB;
const SLOW_BYTES_PER_S = 1024 * KIB;
const LONG_MS = 60_000;
/** Not slow any more. */
const QUICK_BYTES_PER_S = 2 * SLOW_BYTES_PER_S;
/** What costs money must be so many times as fast, as far as known: otherwise it is the path that is slow. */
const FASTER = 2;
/** Of its last requests so many broke, weighted; and so few when it is trusted again. */
const TROUBLED = 0.5;
const CALM = 0.25;
/** What a silence does to its trouble: three whole requests make up for it. */
const SILENCE = 0.7;

/** Whether free sources are asked before others now, so that one that lags would hold those back. */
export function watchesLags({ prefer, paidJoined, sources }: DownloadState): boolean {
  if (prefer === "fast" || paidJoined) return false;
  const living = [...sources.values()].filter(({ gone }) => gone === undefined);
  return living.some(isFree) && living.some(({ cost }) => cost === "paid");
}

/** The state with the sources that lag now, and no others, marked. */
export function watchLags(state: DownloadState, nowMs: number): DownloadState {
  const all = [...state.sources.values()].filter(({ gone }) => gone === undefined);
  const isWatched = watchesLags(state) && all.some(isDearer);
  const slow = isWatched ? slowness(state, all, nowMs) : undefined;
  const slowSinceMs = slow === undefined ? undefined : (state.slowSinceMs ?? nowMs);
  const isLong = slowSinceMs !== undefined && nowMs - slowSinceMs >= SLOW_MS;
  const changed = all.filter(isFree).flatMap((source): [string, SourceState][] => {
    const after = isWatched
      ? judged(state, source, isLong ? slow : undefined, nowMs)
      : { ...source, lags: undefined };
    const isSame = after.lags === source.lags && after.trouble === source.trouble;
    return isSame ? [] : [[source.id, after]];
  });
  if (changed.length === 0 && slowSinceMs === state.slowSinceMs) return state;
  return { ...state, slowSinceMs, sources: new Map([...state.sources, ...changed]) };
}

function isFree({ kind, cost }: SourceState): boolean {
  return cost === "free" && kind !== "cache";
}

function isDearer(source: SourceState): boolean {
  return source.cost === "paid" && !source.has.minus(source.refused).isEmpty;
}

function judged(
  state: DownloadState,
  source: SourceState,
  slow: Lag | undefined,
  nowMs: number,
): SourceState {
  const busy = busyRequests(state, source.id);
  const silentMs = busy === 0 || isHeld(state, source) ? 0 : nowMs - source.activeMs;
  const isSilent = silentMs >= (source.patienceMs ?? SILENT_MS);
  const trouble = isSilent ? Math.max(source.trouble, SILENCE) : source.trouble;
  const isTroubled = trouble >= (source.lags === undefined ? TROUBLED : CALM);
  const lags = isSilent
    ? silentFor(source)
    : isTroubled
      ? (source.lags ?? brokenBy(source))
      : busy > 0
        ? source.patienceMs === undefined
          ? slow
          : undefined
        : source.lags;
  return { ...source, trouble, lags, lagged: lags ?? source.lagged };
}

function silentFor({ patienceMs = SILENT_MS }: SourceState): Lag {
  return { cause: "silent", why: `it sent no byte for ${Math.round(patienceMs / 1000)} s` };
}

function brokenBy({ lastError }: SourceState): Lag {
  const why = lastError === undefined ? "" : ` (${lastError})`;
  return { cause: "broken", why: `its requests broke again and again${why}` };
}

/** Why the free sources that are at work are too slow, all together; undefined when they are not. */
function slowness(
  state: DownloadState,
  all: readonly SourceState[],
  nowMs: number,
): Lag | undefined {
  const atWork = all.filter((one) => isFree(one) && busyRequests(state, one.id) > 0);
  if (atWork.length === 0 || atWork.some((one) => isHeld(state, one))) return undefined;
  const meters = atWork.map((one) => busyMeter(one, nowMs));
  const isSlow = atWork.some(({ lags }) => lags?.cause === "slow");
  const bytesPerS = meters.reduce((sum, meter) => sum + (meterRate(meter) ?? 0), 0);
  const isLong = (state.leftBytes * 1000) / bytesPerS > LONG_MS;
  const least = isSlow ? QUICK_BYTES_PER_S : isLong ? SLOW_BYTES_PER_S : FLOOR_BYTES_PER_S;
  if (bytesPerS >= least) return undefined;
  const dearer = all
    .filter(isDearer)
    .map((one) => sourceRate(one, busyRequests(state, one.id), nowMs));
  const isKnown = dearer.length > 0 && dearer.every((rate) => rate !== undefined);
  if (isKnown && Math.max(...dearer) < FASTER * bytesPerS) return undefined;
  // The figure at which it was noticed stays.
  const known = atWork.find(({ lags }) => lags?.cause === "slow")?.lags;
  return known ?? { cause: "slow", why: `it sent only ${Math.round(bytesPerS / KIB)} KiB/s` };
}

function isHeld(state: DownloadState, source: SourceState): boolean {
  return [...state.requests.values()].some((one) => one.source === source.id && one.held);
}

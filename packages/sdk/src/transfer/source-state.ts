// One source as the download's machine sees it: what it has, how it does, how far it is trusted. Pure edits;
// which source is asked for what is the scheduler's.
//
//   ready ──error that may pass──▶ paused ──time──▶ probing ──matched──▶ ready
//     └──error that cannot pass, banned, failing for retryForMs──▶ gone
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { WaybillError, messageOf } from "../protocol/index.ts";
import { backoffMs } from "../timing/index.ts";
import { ShardSet } from "./shard-set.ts";
import { type Meter, advanceMeter, meterRate, resumeMeter, startMeter } from "./source-meter.ts";
import { type SourceWindow, halve, refuseMore, startWindow, widen } from "./source-window.ts";
import type { SourceAdvice, SourceKind } from "./source.ts";

/** What a source did, for the report. */
export type SourceTally = {
  /** Verified bytes that it was the first to bring. */
  readonly bytes: number;
  readonly shards: number;
  readonly receivedBytes: number;
  /** Received and of no use: bad shards, lost hedges, cut requests. */
  readonly wastedBytes: number;
  readonly requests: number;
  readonly retries: number;
  readonly badShards: number;
  readonly hedges: number;
  readonly hedgesWon: number;
};

/** Why a free source is not waited for; `why` is for people. */
export type Lag = { readonly cause: "silent" | "slow" | "broken"; readonly why: string };

export type SourceState = {
  readonly id: string;
  readonly kind: SourceKind;
  readonly cost: "free" | "paid";
  readonly runEnd: (first: number) => number;
  readonly has: ShardSet;
  /** Whether `has` may still grow. */
  readonly mayGain: boolean;
  /** Shards it is not asked for again. */
  readonly refused: ShardSet;
  readonly refusedWhy: string | undefined;
  /** Shards it served badly: asked for again only when no other source has them. */
  readonly suspect: ShardSet;
  /** How often it served which shard badly. */
  readonly bad: ReadonlyMap<number, number>;
  /** It is given up when it was asked and has brought nothing for so long. */
  readonly giveUpMs?: number | undefined;
  /** For so long it holds back what costs money although it is silent. */
  readonly patienceMs?: number | undefined;
  readonly window: SourceWindow;
  readonly meter: Meter;
  /** Milliseconds from a request to its first byte, weighted. */
  readonly firstByteMs: number | undefined;
  /** The shortest of them: the path's own, however busy its ends are. */
  readonly pathMs: number | undefined;
  /** What the first answer was expected to take. */
  readonly expectedAnswerMs: number | undefined;
  /** Requests that failed in a row, those of one moment counted once. */
  readonly failures: number;
  readonly failingSinceMs: number | undefined;
  readonly pausedUntilMs: number;
  readonly lastError: string | undefined;
  /** When bytes of it came last, or it was asked after a rest. */
  readonly activeMs: number;
  /** How many of its last requests broke, weighted; 0 to 1. */
  readonly trouble: number;
  /** Why it holds back no dearer source now, and why it did not at some time. */
  readonly lags: Lag | undefined;
  readonly lagged: Lag | undefined;
  readonly advice: SourceAdvice;
  readonly tally: SourceTally;
  /** Why it is not used any more. */
  readonly gone: string | undefined;
};

export type NewSource = Pick<
  SourceState,
  "id" | "kind" | "cost" | "runEnd" | "has" | "mayGain" | "giveUpMs" | "patienceMs"
> & {
  /** Most requests at once. */
  readonly window: number;
  /** Milliseconds its first answer will probably take. */
  readonly expectedAnswerMs?: number | undefined;
};

/** Rates of sources forget what is older than a few of these. */
const TAU_MS = 2000;
const FIRST_BYTE_WEIGHT = 0.3;
const TROUBLE_WEIGHT = 0.3;
const BACKOFF = { baseMs: 100, capMs: 5000 };
/** Defects of a source in a row before it is given up. */
const MAX_DEFECTS = 3;
/** A source is sick with this many bad shards, when they are more than this share of many. */
const SICK_SHARDS = 3;
const SICK_SHARE = 0.05;
const MANY_SHARDS = 60;

/**
 * What a bad shard means (I7). A peer is banned at once: nothing it sends is worth the doubt. A damaged shard
 * of a cache is not asked for again. A store or mirror gets three tries, because a flipped bit on the way
 * looks the same as a damaged copy; after that it is not asked for that shard again.
 */
const BLAME: Readonly<Record<SourceKind, { readonly tries: number; readonly ban: boolean }>> = {
  cache: { tries: 1, ban: false },
  peer: { tries: 1, ban: true },
  torrent: { tries: 1, ban: true },
  s3: { tries: 3, ban: false },
  http: { tries: 3, ban: false },
  ssh: { tries: 3, ban: false },
};

/** `beside`: whether it works together with others from the start. */
export function newSource(
  { window, expectedAnswerMs, ...source }: NewSource,
  beside: boolean,
  nowMs: number,
): SourceState {
  return {
    ...source,
    refused: ShardSet.empty,
    refusedWhy: undefined,
    suspect: ShardSet.empty,
    bad: new Map(),
    window: startWindow(window, beside, nowMs, expectedAnswerMs),
    meter: startMeter(nowMs),
    firstByteMs: undefined,
    pathMs: undefined,
    expectedAnswerMs,
    failures: 0,
    failingSinceMs: undefined,
    pausedUntilMs: -Infinity,
    lastError: undefined,
    activeMs: nowMs,
    trouble: 0,
    lags: undefined,
    lagged: undefined,
    advice: {},
    tally: {
      bytes: 0,
      shards: 0,
      receivedBytes: 0,
      wastedBytes: 0,
      requests: 0,
      retries: 0,
      badShards: 0,
      hedges: 0,
      hedgesWon: 0,
    },
    gone: undefined,
  };
}

/** Adds to the tally. */
export function tallied(
  source: SourceState,
  more: Partial<Record<keyof SourceTally, number>>,
): SourceState {
  const tally: Record<keyof SourceTally, number> = { ...source.tally };
  for (const key of Object.keys(more) as (keyof SourceTally)[]) tally[key] += more[key] ?? 0;
  return { ...source, tally };
}

/** Bytes a second, over the time it was busy; undefined before it was measured. */
export function sourceRate(source: SourceState, busy: number, nowMs: number): number | undefined {
  return meterRate(busy > 0 ? busyMeter(source, nowMs) : source.meter);
}

/** The meter of a source that is at work, brought up to now. */
export function busyMeter({ meter }: SourceState, nowMs: number): Meter {
  return advanceMeter(meter, 0, nowMs, TAU_MS);
}

/** Requests it may have at once now. */
export function windowOf(source: SourceState): number {
  if (source.failures > 0) return 1;
  return Math.min(source.window.size, source.advice.maxParallel ?? Infinity);
}

/** Its next request is a test. */
export function isProbing(source: SourceState): boolean {
  return source.failures > 0;
}

export function isReady(source: SourceState, nowMs: number): boolean {
  return source.gone === undefined && source.pausedUntilMs <= nowMs;
}

/** Whether so much of what it serves is bad that it is asked last, and for little. */
export function isSick({ tally }: SourceState): boolean {
  const all = tally.shards + tally.badShards;
  if (tally.badShards < SICK_SHARDS) return false;
  return all < MANY_SHARDS || tally.badShards / all > SICK_SHARE;
}

/** A request begins; `busy` are under way already. */
export function begun(source: SourceState, busy: number, nowMs: number): SourceState {
  const after = tallied(source, { requests: 1 });
  return busy > 0 ? after : { ...after, meter: resumeMeter(source.meter, nowMs), activeMs: nowMs };
}

/** A request is over; `busy` go on. */
export function rested(source: SourceState, busy: number, nowMs: number): SourceState {
  if (busy > 0) return source;
  return { ...source, meter: advanceMeter(source.meter, 0, nowMs, TAU_MS) };
}

/** Bytes came; `firstAfterMs` when they are a request's first. */
export function moved(
  source: SourceState,
  bytes: number,
  {
    busy,
    nowMs,
    firstAfterMs,
    leftBytes,
  }: { busy: number; nowMs: number; firstAfterMs: number | undefined; leftBytes: number },
): SourceState {
  const { firstByteMs: known } = source;
  const firstByteMs =
    firstAfterMs === undefined || known === undefined
      ? (known ?? firstAfterMs)
      : known + FIRST_BYTE_WEIGHT * (firstAfterMs - known);
  const pathMs =
    firstAfterMs === undefined ? source.pathMs : Math.min(source.pathMs ?? Infinity, firstAfterMs);
  return {
    ...tallied(source, { receivedBytes: bytes }),
    firstByteMs,
    pathMs,
    activeMs: nowMs,
    meter: advanceMeter(source.meter, bytes, nowMs, TAU_MS),
    window: widen(source.window, {
      bytes,
      busy,
      answerMs: firstByteMs,
      pathMs,
      leftBytes,
      nowMs,
    }),
  };
}

/** Shards of it matched. */
export function trusted(source: SourceState, shards: number, bytes: number): SourceState {
  return {
    ...tallied(source, { shards, bytes }),
    failures: 0,
    failingSinceMs: undefined,
    lastError: undefined,
  };
}

/** A request of it came to its end. */
export function eased(source: SourceState): SourceState {
  return { ...source, trouble: (1 - TROUBLE_WEIGHT) * source.trouble };
}

/** A shard of it did not match. */
export function blamed(source: SourceState, shard: number): { source: SourceState; ban: boolean } {
  const times = (source.bad.get(shard) ?? 0) + 1;
  const { tries, ban } = BLAME[source.kind];
  const one = { first: shard, count: 1 };
  const given = times >= tries;
  const after = {
    ...tallied(source, { badShards: 1 }),
    bad: new Map(source.bad).set(shard, times),
    suspect: source.suspect.with(one),
    refused: given ? source.refused.with(one) : source.refused,
  };
  return { source: after, ban: given && ban };
}

export type Failure =
  | { readonly type: "paused"; readonly source: SourceState }
  | { readonly type: "gone"; readonly reason: string };

/**
 * What a failed request means for its source. `random` is uniform in [0, 1). `object` are the shards of the
 * object that was asked for, `busy` its requests that go on.
 */
export function failed(
  source: SourceState,
  error: unknown,
  context: { nowMs: number; retryForMs: number; random: number; object: ShardRun; busy: number },
): Failure {
  const reason = messageOf(error);
  const { nowMs, retryForMs } = context;
  const noted = { ...tallied(source, { retries: 1 }), lastError: reason };
  if (error instanceof WaybillError) {
    if (error.code === "not_found" || error.code === "source_changed") {
      const refused = source.refused.with(context.object);
      return { type: "paused", source: { ...noted, refused, refusedWhy: reason } };
    }
    // Fresh URLs were refused, too: that does not pass.
    if (!error.retryable || error.code === "url_expired") return { type: "gone", reason };
  }
  // Requests that were under way together fail together: one cause, one step of waiting.
  const isNew = nowMs >= source.pausedUntilMs;
  const failures = source.failures + (isNew ? 1 : 0);
  const trouble = source.trouble + (isNew ? TROUBLE_WEIGHT * (1 - source.trouble) : 0);
  if (!(error instanceof WaybillError) && failures >= MAX_DEFECTS) return { type: "gone", reason };
  const { giveUpMs } = source;
  // Where time is short, a silence counts from its beginning.
  const failingSinceMs =
    source.failingSinceMs ?? (giveUpMs === undefined ? nowMs : source.activeMs);
  const wished = error instanceof WaybillError ? (error.retryAfterMs ?? 0) : 0;
  const random = () => context.random;
  const waitMs = Math.max(wished, backoffMs(failures - 1, { ...BACKOFF, random }));
  const pausedUntilMs = Math.max(source.pausedUntilMs, nowMs + waitMs);
  const mostMs = Math.min(retryForMs, giveUpMs ?? Infinity);
  if (pausedUntilMs - failingSinceMs > mostMs) return { type: "gone", reason };
  const throttled =
    error instanceof WaybillError &&
    (error.code === "rate_limited" || error.retryAfterMs !== undefined);
  const window =
    throttled && context.busy > 0
      ? refuseMore(source.window, context.busy, nowMs)
      : halve(source.window, nowMs);
  return {
    type: "paused",
    source: { ...noted, failures, trouble, failingSinceMs, pausedUntilMs, window },
  };
}

/** The shards of the stored object that holds a shard. */
export function objectRun(map: ShardMap, shard: number): ShardRun {
  return map.manifest.layout === "packed"
    ? { first: 0, count: map.count }
    : map.shardsOf(map.fileOf(shard));
}

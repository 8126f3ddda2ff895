// One request of a download: how far it is, how fast, and when it will probably end. Pure.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { type Meter, advanceMeter, meterRate, startMeter } from "./source-meter.ts";

export type Request = {
  readonly id: number;
  readonly source: string;
  readonly first: number;
  /** First shard that has not been decided on. */
  readonly next: number;
  /** Ends before this shard. */
  readonly end: number;
  readonly startedMs: number;
  readonly meter: Meter;
  readonly receivedBytes: number;
  /** Verified bytes that it was the first to bring. */
  readonly countedBytes: number;
  /** When its latest bytes came, or it began. */
  readonly lastByteMs: number;
  /** Bytes of it wait for our own disk. */
  readonly held: boolean;
  /** The request whose shards it fetches a second time. */
  readonly hedgeOf: number | undefined;
  /** The request that fetches its shards a second time. */
  readonly hedgedBy: number | undefined;
};

const TAU_MS = 1000;
/** A rate of the request itself counts after this long. */
const OWN_RATE_MS = 300;
/** No byte for this long ends a request; before the first one a store may have to fetch from a slow disk. */
const STALL_MS = 10_000;
const FIRST_BYTE_STALL_MS = 30_000;

export function newRequest(
  id: number,
  source: string,
  run: ShardRun,
  nowMs: number,
  hedgeOf?: number,
): Request {
  return {
    id,
    source,
    first: run.first,
    next: run.first,
    end: run.first + run.count,
    startedMs: nowMs,
    meter: startMeter(nowMs),
    receivedBytes: 0,
    countedBytes: 0,
    lastByteMs: nowMs,
    held: false,
    hedgeOf,
    hedgedBy: undefined,
  };
}

/** Counts bytes that came. */
export function receivedBy(request: Request, bytes: number, nowMs: number): Request {
  return {
    ...request,
    receivedBytes: request.receivedBytes + bytes,
    lastByteMs: nowMs,
    held: false,
    meter: advanceMeter(request.meter, bytes, nowMs, TAU_MS),
  };
}

/** What it has still to bring. */
export function restOf(request: Request): ShardRun {
  return { first: request.next, count: request.end - request.next };
}

/** Milliseconds without a byte; none while its bytes wait for us. */
export function silenceMs(request: Request, nowMs: number): number {
  return request.held ? 0 : nowMs - request.lastByteMs;
}

/** When it is given up if no byte comes; never while its bytes wait for us. */
export function stallsAtMs(request: Request): number {
  if (request.held) return Infinity;
  return request.lastByteMs + (request.receivedBytes > 0 ? STALL_MS : FIRST_BYTE_STALL_MS);
}

/** Bytes that have not come yet. */
export function leftBytes(request: Request, map: ShardMap): number {
  const verified = map.bytesOf({ first: request.first, count: request.next - request.first });
  const part = Math.max(0, request.receivedBytes - verified);
  return Math.max(0, map.bytesOf(restOf(request)) - part);
}

/**
 * Milliseconds until it will have ended: its rest at its own rate, else at `shareBytesPerS`; never less than
 * it has been silent (a silence tends to last as long again). Undefined when nothing is known.
 */
export function expectedMs(
  request: Request,
  map: ShardMap,
  shareBytesPerS: number | undefined,
  nowMs: number,
): number | undefined {
  const silent = silenceMs(request, nowMs);
  const own =
    nowMs - request.startedMs < OWN_RATE_MS
      ? undefined
      : meterRate(advanceMeter(request.meter, 0, nowMs, TAU_MS));
  const rate = own ?? shareBytesPerS;
  if (rate === undefined) return silent < OWN_RATE_MS ? undefined : silent;
  return Math.max(silent, (leftBytes(request, map) * 1000) / rate);
}

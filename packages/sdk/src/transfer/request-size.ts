// How long a request is (docs/transfer.md, rule 2). Pure.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import type { DownloadState } from "./download-state.ts";
import { type SourceState, isProbing, isSick } from "./source-state.ts";

const MIB = 1024 * 1024;
/** What a request should last: its overhead, an answer's time, is then small on every path. */
const REQUEST_S = 2;
/** Longer requests save nothing measurable. */
const MAX_BYTES = 16 * MIB;
/** Before a rate is known. */
const UNKNOWN_BYTES = 4 * MIB;
/** What a kill may lose: with what is half-way at most 1/64 of the artifact, so three kills stay below 5 %. */
const KILL_SHARE = 64;
const KILL_REQUESTS = 4;
/** But never so little that answers' times are a burden: shards are safe as they arrive, whole request or not. */
const LEAST_ANSWERS = 16;
/** On far paths connections take several answers to come up to speed: at first a request has so much for each millisecond. */
const FAR_BYTES_PER_MS = 25 * 1024;
const FAR_MS = 25;

type Sized = {
  readonly source: SourceState;
  readonly places: number;
  readonly bytesPerS: number | undefined;
};

/** Bytes the next request of a source may have; 0 means one shard. `peers` are the ready sources of its rank. */
export function requestBytes(
  state: DownloadState,
  map: ShardMap,
  { source, places, bytesPerS, peers }: Sized & { readonly peers: readonly Sized[] },
): number {
  const { advice } = source;
  if (advice.wholeObjects === true) return Infinity;
  if (isProbing(source) || isSick(source) || source.lags !== undefined) return 0;
  const windows = peers.reduce((sum, one) => sum + one.places, 0);
  const perRequest = bytesPerS === undefined ? undefined : bytesPerS / places;
  const answerMs = source.pathMs ?? source.expectedAnswerMs ?? 0;
  const least = Math.max(
    ((perRequest ?? 0) * LEAST_ANSWERS * answerMs) / 1000,
    perRequest !== undefined || answerMs < FAR_MS ? 0 : answerMs * FAR_BYTES_PER_MS,
  );
  const seconds = Math.min(REQUEST_S, (advice.maxRequestMs ?? Infinity) / 1000);
  return Math.min(
    perRequest === undefined ? UNKNOWN_BYTES : perRequest * seconds,
    MAX_BYTES,
    Math.max(least, map.bytes / KILL_SHARE / Math.max(KILL_REQUESTS, windows)),
    advice.maxRequestBytes ?? Infinity,
    fairShare(state, map, bytesPerS, places, peers),
  );
}

/** Half of what falls to one of its requests when the rest is dealt out by rate: so all sources end together. */
function fairShare(
  state: DownloadState,
  map: ShardMap,
  bytesPerS: number | undefined,
  places: number,
  peers: readonly Sized[],
): number {
  if (peers.length < 2 || bytesPerS === undefined) return Infinity;
  const known = peers.reduce((sum, one) => sum + (one.bytesPerS ?? bytesPerS), 0);
  const rest = state.missing.size * map.manifest.shardBytes;
  return (rest * bytesPerS) / known / places / 2;
}

/** The beginning of a run that has at most so many bytes; at least one shard. */
export function takeShards(map: ShardMap, run: ShardRun, mostBytes: number): ShardRun {
  const start = map.position(run.first);
  let low = run.first + 1;
  let high = run.first + run.count;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (map.position(middle) - start <= mostBytes) low = middle;
    else high = middle - 1;
  }
  return { first: run.first, count: low - run.first };
}

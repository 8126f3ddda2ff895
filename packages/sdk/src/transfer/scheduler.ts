// Which source fetches which shards next (docs/transfer.md, rules 1, 7 and 8). Pure. By rank: cache before free
// before paid, per shard. Contiguous shards of one source are one request. When nothing is missing, a source
// with a free place takes over the end of the slowest request, or fetches the same shards a second time.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { type Request, expectedMs, leftBytes, restOf, silenceMs } from "./download-request.ts";
import type { DownloadState } from "./download-state.ts";
import { laggingRank, rankOf, type Rank } from "./policy.ts";
import { requestBytes, takeShards } from "./request-size.ts";
import { ShardSet } from "./shard-set.ts";
import {
  type SourceState,
  isProbing,
  isReady,
  isSick,
  objectRun,
  sourceRate,
  windowOf,
} from "./source-state.ts";

export type Choice =
  | { readonly type: "fetch"; readonly source: string; readonly run: ShardRun }
  /** `from` ends before shard `end`; `source` fetches the rest. */
  | {
      readonly type: "steal";
      readonly from: number;
      readonly end: number;
      readonly source: string;
      readonly run: ShardRun;
    }
  /** `source` fetches what `of` fetches, too; the first copy counts. */
  | {
      readonly type: "hedge";
      readonly of: number;
      readonly source: string;
      readonly run: ShardRun;
    };

/** Requests at once in all: each holds two buffers of a shard. */
const MAX_REQUESTS = 64;
/** First-byte time and whole time of a source that was not measured yet. */
const UNKNOWN_FIRST_BYTE_MS = 200;
const UNKNOWN_NEED_MS = 1000;
/** A hedge must promise this: its cost is at most one request's bytes. */
const HEDGE_FACTOR = 2;
const HEDGE_GAIN_MS = 250;
/** Taking the end of a request of the same source must promise this, and so many answer times. */
const SPLIT_GAIN_MS = 250;
const SPLIT_ANSWERS = 2;
/** A request that has been silent for so long is stuck. */
const STUCK_MS = 2000;

/** A source that may be asked, with what the choice needs of it. */
type Candidate = {
  readonly source: SourceState;
  readonly rank: Rank;
  readonly able: ShardSet;
  readonly busy: number;
  /** Requests it may have at once now. */
  readonly places: number;
  readonly bytesPerS: number | undefined;
  /** It may step in for one that lags: whether it is any faster is found out with single shards. */
  readonly isTrial: boolean;
};

/** The next request to start, or undefined when every source is busy or has nothing to do. */
export function chooseNext(state: DownloadState, map: ShardMap, nowMs: number): Choice | undefined {
  if (state.requests.size >= MAX_REQUESTS) return undefined;
  const all = candidates(state, map, nowMs);
  return chooseMissing(state, map, all) ?? chooseTail(state, map, all, nowMs);
}

/** Requests a source has under way. */
export function busyRequests(state: DownloadState, source: string): number {
  let count = 0;
  for (const request of state.requests.values()) if (request.source === source) count += 1;
  return count;
}

/** Its rank under the policy; that of dearer ones while it lags or fails, and last when it is sick. */
export function rankIn(state: DownloadState, source: SourceState): Rank {
  if (isSick(source)) return 3;
  const rank = isProbing(source) || source.lags !== undefined ? laggingRank : rankOf;
  return rank(source, state.prefer, state.paidJoined);
}

/** Shards a source can be asked for. One without ranges sends what is before them, too: at most as much. */
export function ableShards(state: DownloadState, map: ShardMap, source: SourceState): ShardSet {
  const able = source.has.minus(source.refused);
  if (source.advice.wholeObjects !== true) return able;
  return state.missing.runs().reduce((rest, { first, count }) => {
    const own = objectRun(map, first);
    const here = Math.min(first + count, own.first + own.count) - first;
    return first - own.first <= here ? rest : rest.without({ first, count: here });
  }, able);
}

function candidates(state: DownloadState, map: ShardMap, nowMs: number): Candidate[] {
  const list: Candidate[] = [];
  const isLate = [...state.sources.values()].some(({ lags }) => lags !== undefined);
  for (const source of state.sources.values()) {
    if (!isReady(source, nowMs)) continue;
    const busy = busyRequests(state, source.id);
    const bytesPerS = sourceRate(source, busy, nowMs);
    const isTrial = isLate && source.cost === "paid" && bytesPerS === undefined;
    list.push({
      source,
      busy,
      places: isTrial ? 1 : windowOf(source),
      bytesPerS,
      isTrial,
      rank: rankIn(state, source),
      able: ableShards(state, map, source),
    });
  }
  return list.sort(
    (a, b) => a.rank - b.rank || (b.bytesPerS ?? Infinity) - (a.bytesPerS ?? Infinity) || 0,
  );
}

function chooseMissing(
  state: DownloadState,
  map: ShardMap,
  all: readonly Candidate[],
): Choice | undefined {
  if (state.missing.isEmpty) return undefined;
  let cheaper = ShardSet.empty;
  let tier = ShardSet.empty;
  let rank: Rank | undefined;
  for (const one of all) {
    if (one.rank !== rank) {
      cheaper = cheaper.union(tier);
      tier = ShardSet.empty;
      rank = one.rank;
    }
    tier = tier.union(one.able.minus(one.source.suspect));
    if (one.busy >= one.places) continue;
    const wanted = state.missing
      .intersect(one.able)
      .minus(cheaper)
      .minus(betterElsewhere(one, all));
    const urgent = wanted.intersect(state.urgent).firstRun();
    const first = wanted.firstRun(urgent?.first);
    if (first === undefined || comesTooLate(state, map, one, first.first, all)) continue;
    const end = Math.min(first.first + first.count, one.source.runEnd(first.first));
    const peers = all.filter((other) => other.rank === one.rank);
    const most = one.isTrial ? 0 : requestBytes(state, map, { ...one, peers });
    const run = takeShards(map, { first: first.first, count: end - first.first }, most);
    return { type: "fetch", source: one.source.id, run };
  }
  return undefined;
}

/** Whether another source of its rank will have brought the shard sooner, even after all that is missing. */
function comesTooLate(
  state: DownloadState,
  map: ShardMap,
  one: Candidate,
  shard: number,
  all: readonly Candidate[],
): boolean {
  const bytes = map.manifest.shardBytes;
  const needMs = needOf(one, bytes, one.places);
  if (needMs === undefined) return false;
  const peers = all.filter((other) => other.rank === one.rank);
  const bytesPerS = peers.reduce((sum, other) => sum + (other.bytesPerS ?? 0), 0);
  const restMs = (state.missing.size * bytes * 1000) / bytesPerS;
  return peers.some((other) => {
    const otherMs = needOf(other, bytes, other.places);
    if (other === one || otherMs === undefined || otherMs + restMs >= needMs) return false;
    return other.able.has(shard) && !other.source.suspect.has(shard);
  });
}

/** Milliseconds a source needs for so many bytes while it has `busy` requests; undefined when not measured. */
function needOf({ source, bytesPerS }: Candidate, bytes: number, busy: number): number | undefined {
  if (bytesPerS === undefined) return undefined;
  return (source.firstByteMs ?? UNKNOWN_FIRST_BYTE_MS) + (bytes * 1000 * busy) / bytesPerS;
}

/** Shards it served badly that another source may serve well. */
function betterElsewhere(one: Candidate, all: readonly Candidate[]): ShardSet {
  if (one.source.suspect.isEmpty) return ShardSet.empty;
  const others = all
    .filter((other) => other !== one)
    .reduce((set, other) => set.union(other.able.minus(other.source.suspect)), ShardSet.empty);
  return one.source.suspect.intersect(others);
}

/** Nothing is missing: help the request that will end last. */
function chooseTail(
  state: DownloadState,
  map: ShardMap,
  all: readonly Candidate[],
  nowMs: number,
): Choice | undefined {
  if (!state.missing.isEmpty) return undefined;
  const late = [...state.requests.values()]
    .filter((request) => request.hedgeOf === undefined && request.hedgedBy === undefined)
    .filter((request) => request.next < request.end && !request.held)
    .map((request) => ({ request, expected: expectedOf(state, map, request, nowMs) }))
    .sort(
      (a, b) =>
        (b.expected ?? 0) - (a.expected ?? 0) ||
        b.request.end - b.request.next - (a.request.end - a.request.next),
    );
  for (const helper of all) {
    if (helper.busy >= helper.places || helper.source.lags !== undefined) continue;
    for (const { request, expected } of late) {
      const choice =
        steal(state, map, helper, request, expected) ??
        hedge(state, map, helper, { request, expected, nowMs, all });
      if (choice !== undefined) return choice;
    }
  }
  return undefined;
}

function expectedOf(
  state: DownloadState,
  map: ShardMap,
  request: Request,
  nowMs: number,
): number | undefined {
  const owner = state.sources.get(request.source);
  if (owner === undefined) return undefined;
  const busy = busyRequests(state, owner.id);
  const rate = sourceRate(owner, busy, nowMs);
  return expectedMs(request, map, rate === undefined ? undefined : rate / busy, nowMs);
}

/** Takes the end of a request: as much as makes both end together; half when rates are unknown. */
function steal(
  state: DownloadState,
  map: ShardMap,
  helper: Candidate,
  victim: Request,
  expected: number | undefined,
): Choice | undefined {
  const owner = state.sources.get(victim.source);
  if (owner === undefined) return undefined;
  if (rankIn(state, owner) < helper.rank) return undefined;
  const left = victim.end - victim.next;
  const share = stolenShare(helper, leftBytes(victim, map), expected);
  // The shard that is arriving stays.
  const count = Math.min(Math.floor(left * share), left - 1);
  if (count < 1) return undefined;
  if (owner.id === helper.source.id) {
    // Its own other connection is closed for it: only where that one is slow, not where all are even.
    const gainMs = (expected ?? 0) * (count / left);
    const answerMs = helper.source.firstByteMs ?? UNKNOWN_FIRST_BYTE_MS;
    if (gainMs < SPLIT_GAIN_MS + SPLIT_ANSWERS * answerMs) return undefined;
  }
  const run = { first: victim.end - count, count };
  if (!canFetch(helper, run)) return undefined;
  return { type: "steal", from: victim.id, end: run.first, source: helper.source.id, run };
}

/** `x / rt + first byte = (L − x) / rv`, as a share of L. */
function stolenShare(helper: Candidate, bytes: number, expected: number | undefined): number {
  const { bytesPerS, busy, source } = helper;
  if (bytesPerS === undefined || expected === undefined) return busy === 0 ? 0.5 : 0;
  if (bytes === 0) return 0;
  const rt = bytesPerS / (busy + 1);
  const rv = (bytes * 1000) / Math.max(1, expected);
  const leadS = (expected - (source.firstByteMs ?? UNKNOWN_FIRST_BYTE_MS)) / 1000;
  return Math.min(1, Math.max(0, (leadS * rv * rt) / (rv + rt) / bytes));
}

type Late = {
  readonly request: Request;
  readonly expected: number | undefined;
  readonly nowMs: number;
  readonly all: readonly Candidate[];
};

/** Fetches the same shards again, when that should be much sooner. */
function hedge(
  state: DownloadState,
  map: ShardMap,
  helper: Candidate,
  { request, expected, nowMs, all }: Late,
): Choice | undefined {
  const owner = state.sources.get(request.source);
  if (expected === undefined || owner === undefined) return undefined;
  const { source } = helper;
  // The source itself, and a dearer one, help only a request that is stuck, not one that is slow.
  const isDearer = rankIn(state, owner) < helper.rank;
  const stuckMs = isDearer ? (owner.patienceMs ?? STUCK_MS) : STUCK_MS;
  if ((source === owner || isDearer) && silenceMs(request, nowMs) < stuckMs) return undefined;
  const run = restOf(request);
  if (!canFetch(helper, run)) return undefined;
  const bytes = map.bytesOf(run);
  const needMs = needOf(helper, bytes, helper.busy + 1) ?? UNKNOWN_NEED_MS;
  const better = all.some((other) => {
    if (other === helper || other.source === owner || other.rank > helper.rank) return false;
    return HEDGE_FACTOR * (needOf(other, bytes, 1) ?? Infinity) < needMs && canFetch(other, run);
  });
  if (better) return undefined;
  if (expected <= HEDGE_FACTOR * needMs || expected - needMs <= HEDGE_GAIN_MS) return undefined;
  return { type: "hedge", of: request.id, source: source.id, run };
}

function canFetch({ source, able }: Candidate, run: ShardRun): boolean {
  if (source.advice.wholeObjects === true) return false;
  return (
    source.runEnd(run.first) >= run.first + run.count &&
    ShardSet.of([run]).minus(able).isEmpty &&
    ShardSet.of([run]).intersect(source.suspect).isEmpty
  );
}

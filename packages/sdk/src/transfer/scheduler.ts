// Which source fetches which shards next. Pure. Cache before free before paid, per shard: a paid source is
// asked only for what no cheaper living source has. Contiguous shards of one source are one request. A source
// with nothing left to start takes over the second half of another one's longest request.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { ShardSet } from "./shard-set.ts";
import type { DownloadState, Request, SourceState } from "./download-state.ts";

const MIB = 1024 * 1024;
/** Longer requests save nothing measurable and are lost as a whole when a process is killed. */
const MAX_REQUEST_BYTES = 16 * MIB;
/** With four requests under way, a kill loses at most 1/64 of the artifact: three kills stay below 5 %. */
const REQUEST_FRACTION = 256;

export type Choice =
  | { readonly type: "fetch"; readonly source: string; readonly run: ShardRun }
  /** `request` ends before shard `end`; `source` fetches the rest. */
  | {
      readonly type: "steal";
      readonly from: number;
      readonly end: number;
      readonly source: string;
      readonly run: ShardRun;
    };

/** The next request to start, or undefined when every source is busy or has nothing to do. */
export function chooseNext(state: DownloadState, map: ShardMap): Choice | undefined {
  const sources = [...state.sources.values()]
    .filter((source) => source.gone === undefined)
    .sort((a, b) => costRank(a) - costRank(b));
  let cheaper = ShardSet.empty;
  let rank = -1;
  let tier = ShardSet.empty;
  for (const source of sources) {
    if (costRank(source) !== rank) {
      cheaper = cheaper.union(tier);
      tier = ShardSet.empty;
      rank = costRank(source);
    }
    const able = source.has.minus(source.refused);
    tier = tier.union(able);
    if (busyRequests(state, source.id) >= source.window) continue;
    const wanted = state.missing.intersect(able).minus(cheaper);
    const first = wanted.firstRun();
    if (first !== undefined) {
      return { type: "fetch", source: source.id, run: cutRun(first, source, map) };
    }
  }
  return chooseSteal(state, sources);
}

/** Requests a source has under way. */
function busyRequests(state: DownloadState, source: string): number {
  let count = 0;
  for (const request of state.requests.values()) if (request.source === source) count += 1;
  return count;
}

/** A request's worth of a run. */
function cutRun(run: ShardRun, source: SourceState, map: ShardMap): ShardRun {
  const most = Math.min(MAX_REQUEST_BYTES, map.bytes / REQUEST_FRACTION);
  const last = Math.min(run.first + run.count, source.runEnd(run.first));
  const start = map.position(run.first);
  // The first shard always goes; further ones while the request stays within its share.
  let low = run.first + 1;
  let high = last;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (map.position(middle) - start <= most) low = middle;
    else high = middle - 1;
  }
  return { first: run.first, count: low - run.first };
}

function chooseSteal(state: DownloadState, sources: readonly SourceState[]): Choice | undefined {
  if (!state.missing.isEmpty) return undefined;
  for (const source of sources) {
    if (busyRequests(state, source.id) > 0) continue;
    const victim = longestRequest(state, source);
    if (victim === undefined) continue;
    // Of the shards after the one that is arriving, the later half.
    const left = victim.end - victim.next;
    const end = victim.end - Math.floor(left / 2);
    return {
      type: "steal",
      from: victim.id,
      end,
      source: source.id,
      run: { first: end, count: victim.end - end },
    };
  }
  return undefined;
}

/** The request of another source, not a cheaper one, with the most left that `source` has in one piece. */
function longestRequest(state: DownloadState, source: SourceState): Request | undefined {
  let longest: Request | undefined;
  for (const request of state.requests.values()) {
    const owner = state.sources.get(request.source);
    if (owner === undefined || owner.id === source.id || costRank(owner) < costRank(source))
      continue;
    const left = request.end - request.next;
    if (left < 2 || (longest !== undefined && left <= longest.end - longest.next)) continue;
    const end = request.end - Math.floor(left / 2);
    const stolen = ShardSet.of([{ first: end, count: request.end - end }]);
    const able = stolen.minus(source.has).isEmpty && stolen.intersect(source.refused).isEmpty;
    if (able && source.runEnd(end) >= request.end) longest = request;
  }
  return longest;
}

function costRank({ kind, cost }: SourceState): number {
  if (kind === "cache") return 0;
  return cost === "free" ? 1 : 2;
}

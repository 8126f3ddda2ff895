// Why each source was used as it was: figures and one sentence, for `--explain` (docs/transfer.md, rule 10).
import type { DownloadState } from "./download-state.ts";
import { rankOf } from "./policy.ts";
import { rankIn } from "./scheduler.ts";
import { type SourceState, isSick, sourceRate } from "./source-state.ts";
import type { SourceKind } from "./source.ts";

export type SourceReport = {
  readonly source: string;
  readonly kind: SourceKind;
  readonly cost: "free" | "paid";
  /** Verified bytes that it was the first to bring. */
  readonly bytes: number;
  /** Of all bytes that this download fetched; 0 to 1. */
  readonly share: number;
  /** Bytes a second while it was busy; absent when it was not measured. */
  readonly bytesPerSecond?: number;
  /** Milliseconds to the first byte of a request; absent when none came. */
  readonly firstByteMs?: number;
  readonly requests: number;
  /** Requests that failed and were made again, here or elsewhere. */
  readonly retries: number;
  readonly badShards: number;
  readonly hedges: number;
  readonly hedgesWon: number;
  /** Received and of no use. */
  readonly wastedBytes: number;
  /** By how much what travelled was shorter than what it stands for; absent where nothing was compressed. */
  readonly compressedBytes?: number;
  /** Most requests at once, as it was found out. */
  readonly window: number;
  readonly use: "used" | "unused" | "dropped";
  readonly why: string;
};

/** One report for each source, in the order in which they were added. */
export function reportSources(
  state: DownloadState,
  compressed: ReadonlyMap<string, number> = new Map(),
): SourceReport[] {
  const sources = [...state.sources.values()];
  const all = sources.reduce((sum, { tally }) => sum + tally.bytes, 0);
  return sources.map((source) => {
    const { id, kind, cost, tally, gone, firstByteMs, window } = source;
    const { receivedBytes: _, shards: __, bytes, ...counts } = tally;
    const rate = sourceRate(source, 0, 0);
    return {
      source: id,
      kind,
      cost,
      bytes,
      share: all === 0 ? 0 : bytes / all,
      ...(rate === undefined ? {} : { bytesPerSecond: Math.round(rate) }),
      ...(firstByteMs === undefined ? {} : { firstByteMs: Math.round(firstByteMs) }),
      ...counts,
      ...(compressed.has(id) ? { compressedBytes: compressed.get(id) ?? 0 } : {}),
      window: window.size,
      use: gone === undefined ? (bytes > 0 ? "used" : "unused") : "dropped",
      why: reasonOf(state, source),
    };
  });
}

function reasonOf(state: DownloadState, source: SourceState): string {
  const { gone, tally, suspect, refusedWhy, lastError, lagged } = source;
  if (gone !== undefined) return `dropped: ${gone}`;
  if (isSick(source)) {
    return `put last: ${tally.badShards} of its ${tally.shards + tally.badShards} shards were bad`;
  }
  const place = placeOf(state, source);
  if (tally.bytes > 0) {
    const damaged = suspect.isEmpty ? "" : `; ${suspect.size} shards of it were bad`;
    return `${place}${damaged}`;
  }
  const nothing = lastError ?? lagged?.why;
  if (nothing !== undefined) return `brought nothing: ${nothing}`;
  if (refusedWhy !== undefined) return `brought nothing: ${refusedWhy}`;
  if (source.has.isEmpty) return "has nothing of this artifact";
  const isDearer = rankIn(state, source) >= 2;
  if (state.phase === "done") {
    if (tally.requests > 0) return "asked, but others were faster";
    const isIdle = [...state.sources.values()].every((one) => one.tally.requests === 0);
    if (isIdle) return "not needed: everything was there already";
    return isDearer ? "not needed: cheaper sources had everything" : "not needed";
  }
  if (tally.requests > 0) {
    return "asked, but the download ended before a whole shard of it was there";
  }
  return `not asked before the download ended${isDearer ? ": cheaper sources come first" : ""}`;
}

/** When a source that brought something was asked, and what for. */
function placeOf(state: DownloadState, source: SourceState): string {
  const { cost, lagged } = source;
  if (cost === "paid" && state.paidJoined) {
    return "joined, because cheaper sources would have missed the deadline";
  }
  const failed = [...state.sources.values()].filter(
    (one) => one.cost === "free" && (one.lagged !== undefined || one.failures > 0),
  );
  if (cost === "paid" && failed.length > 0 && rankIn(state, source) === 2) {
    const reasons = failed.map((one) => `${one.id}: ${one.lagged?.why ?? one.lastError}`);
    return `${PLACES[2]}, or brought in time (${reasons.join("; ")})`;
  }
  if (lagged === undefined) return PLACES[rankIn(state, source)];
  return `${PLACES[rankOf(source, state.prefer, false)]}, until others joined because ${lagged.why}`;
}

const PLACES = [
  "asked first: it is on this machine",
  "asked before anything that costs money",
  "asked for what no cheaper source had",
  "asked last",
] as const;

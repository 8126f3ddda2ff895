// Why each source was used as it was: figures and one sentence, for `--explain` (docs/transfer.md, rule 10).
import type { DownloadState } from "./download-state.ts";
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
  const { gone, tally, suspect, refusedWhy, lastError } = source;
  if (gone !== undefined) return `dropped: ${gone}`;
  if (isSick(source)) {
    return `put last: ${tally.badShards} of its ${tally.shards + tally.badShards} shards were bad`;
  }
  const rank = rankIn(state, source);
  const place = PLACES[rank];
  const joined =
    state.paidJoined && source.cost === "paid"
      ? "joined, because cheaper sources would have missed the deadline"
      : place;
  if (tally.bytes > 0) {
    const damaged = suspect.isEmpty ? "" : `; ${suspect.size} shards of it were bad`;
    return `${joined}${damaged}`;
  }
  if (lastError !== undefined) return `brought nothing: ${lastError}`;
  if (refusedWhy !== undefined) return `brought nothing: ${refusedWhy}`;
  if (source.has.isEmpty) return "has nothing of this artifact";
  if (tally.requests > 0) return "asked, but others were faster";
  return rank >= 2 ? "not needed: cheaper sources had everything" : "not needed";
}

const PLACES = [
  "asked first: it is on this machine",
  "asked before anything that costs money",
  "asked for what no cheaper source had",
  "asked last",
] as const;

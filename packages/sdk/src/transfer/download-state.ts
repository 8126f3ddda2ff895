// A download as a pure machine over shards, requests and sources; the runner performs its effects and decides
// nothing. Time comes with events, chance from a seed. Table and rules: docs/transfer.md.
//
//   shard:   missing ──fetch──▶ in flight ──matched──▶ done          (done is for ever: I2)
//               ▲                  │
//               └── bad, failed, stolen, stalled, source gone
//   transfer: running ──every shard done──▶ done;  ──no source left for a missing shard──▶ failed (I8)
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { assertNever } from "../protocol/index.ts";
import type { Request } from "./download-request.ts";
import { DownloadEdit } from "./download-edit.ts";
import type { Preference } from "./policy.ts";
import { ShardSet } from "./shard-set.ts";
import type { NewSource, SourceState } from "./source-state.ts";
import type { SourceAdvice } from "./source.ts";

export type DownloadState = {
  readonly phase: "running" | "done" | "failed";
  readonly prefer: Preference;
  /** A source that brings no shard for this long after an error is given up. */
  readonly retryForMs: number;
  readonly startedMs: number;
  readonly missing: ShardSet;
  readonly done: ShardSet;
  /** Shards somebody waits for: they are asked for before others. */
  readonly urgent: ShardSet;
  /** Bytes of the shards that are not done. */
  readonly leftBytes: number;
  readonly sources: ReadonlyMap<string, SourceState>;
  readonly requests: ReadonlyMap<number, Request>;
  readonly nextRequest: number;
  /** Under a deadline: the cheaper sources are too slow for it. */
  readonly paidJoined: boolean;
  /** Since when the free sources at work have been too slow, all together. */
  readonly slowSinceMs: number | undefined;
  /** The time the last `wake` asked for. */
  readonly wakeAtMs: number;
  readonly seed: number;
};

type Body =
  | { readonly type: "sources-added"; readonly sources: readonly NewSource[] }
  | { readonly type: "source-has"; readonly source: string; readonly has: ShardSet }
  | { readonly type: "source-gone"; readonly source: string; readonly reason: string }
  | { readonly type: "source-advised"; readonly source: string; readonly advice: SourceAdvice }
  /** So many bytes of a request came since its last such event. */
  | { readonly type: "received"; readonly request: number; readonly bytes: number }
  /** Bytes of a request wait for our own disk, until its next `received`. */
  | { readonly type: "held"; readonly request: number }
  /** Shards arrived, matched and are stored, even if their request is over. */
  | {
      readonly type: "matched";
      readonly source: string;
      readonly request: number;
      readonly run: ShardRun;
    }
  /** The next shard of a request does not match its digest; the request is over. */
  | { readonly type: "bad-shard"; readonly request: number }
  /** The request is over: by itself, or with an error. */
  | { readonly type: "ended"; readonly request: number; readonly error?: unknown }
  /** These shards, and no others, are to come before the rest. */
  | { readonly type: "urgent"; readonly shards: ShardSet }
  /** A time that `wake` asked for has come. */
  | { readonly type: "tick" }
  /** The caller cancelled, or bytes cannot be stored. */
  | { readonly type: "stopped"; readonly error: unknown };

/** What happened, and when: `nowMs` is of one monotonic clock. */
export type DownloadEvent = Body & { readonly nowMs: number };

export type DownloadEffect =
  | {
      readonly type: "fetch";
      readonly request: number;
      readonly source: string;
      readonly run: ShardRun;
      /** Set on a hedge: the request whose shards it fetches, too. */
      readonly hedgeOf?: number;
    }
  /** The request ends earlier than it was started for. */
  | { readonly type: "shorten"; readonly request: number; readonly end: number }
  | { readonly type: "cancel"; readonly request: number }
  /** A request failed; its source rests for so long. */
  | {
      readonly type: "retry";
      readonly source: string;
      readonly error: unknown;
      readonly waitMs: number;
    }
  | { readonly type: "drop"; readonly source: string; readonly reason: string }
  /** Send a `tick` at this time; only the latest counts. */
  | { readonly type: "wake"; readonly atMs: number }
  | { readonly type: "finish" }
  | { readonly type: "fail"; readonly error: unknown };

export type DownloadStep = {
  readonly state: DownloadState;
  readonly effects: readonly DownloadEffect[];
};

export type DownloadInit = {
  readonly map: ShardMap;
  /** Shards that are there. */
  readonly done: ShardSet;
  readonly nowMs: number;
  readonly prefer?: Preference;
  readonly retryForMs?: number;
  /** Where the jitter of waits comes from. */
  readonly seed?: number;
};

/** How long a source may fail without bringing a shard. */
const DEFAULT_RETRY_MS = 600_000;
/** The first state: nothing in flight, `done` already there. */
export function beginDownload(init: DownloadInit): DownloadState {
  const missing = ShardSet.all(init.map.count).minus(init.done);
  return {
    phase: "running",
    prefer: init.prefer ?? "cheap",
    retryForMs: init.retryForMs ?? DEFAULT_RETRY_MS,
    startedMs: init.nowMs,
    missing,
    done: init.done,
    urgent: ShardSet.empty,
    leftBytes: missing.runs().reduce((sum, run) => sum + init.map.bytesOf(run), 0),
    sources: new Map(),
    requests: new Map(),
    nextRequest: 1,
    paidJoined: false,
    slowSinceMs: undefined,
    wakeAtMs: Infinity,
    seed: init.seed ?? 1,
  };
}

/** The machine. Events of requests and sources that are over change nothing, but for shards that matched. */
export function nextDownload(
  state: DownloadState,
  event: DownloadEvent,
  map: ShardMap,
): DownloadStep {
  if (state.phase !== "running") return { state, effects: [] };
  const step = new DownloadEdit(state, map, event.nowMs);
  switch (event.type) {
    case "sources-added":
      step.add(event.sources);
      return step.proceed();
    case "source-has":
      step.edit(event.source, (source) => ({ ...source, has: event.has }));
      return step.proceed();
    case "source-gone":
      step.remove(event.source, event.reason);
      return step.proceed();
    case "source-advised":
      step.edit(event.source, (source) => ({ ...source, advice: event.advice }));
      return step.proceed();
    case "received":
      return step.receive(event.request, event.bytes) ? step.proceed() : step.result();
    case "held":
      step.hold(event.request);
      return step.result();
    case "matched":
      step.match(event.source, event.request, event.run);
      return step.proceed();
    case "bad-shard":
      step.blame(event.request);
      return step.proceed();
    case "ended":
      step.end(event.request, event.error);
      return step.proceed();
    case "urgent":
      step.hurry(event.shards);
      return step.result();
    case "tick":
      step.tick();
      return step.proceed();
    case "stopped":
      return step.fail(event.error);
    default:
      return assertNever(event);
  }
}

export type { NewSource };

// A download as a pure machine over shards and sources; the runner performs its effects and decides nothing.
//
//   shard:   missing ──fetch──▶ in flight ──matched──▶ done          (done is for ever: I2)
//               ▲                  │
//               └── bad, failed, stolen, source gone
//   source:  live ──gone / banned / failing──▶ gone (with its reason)
//   transfer: running ──every shard done──▶ done;  ──no source left for a missing shard──▶ failed (I8)
import { type ShardMap, type ShardRun } from "../artifact/index.ts";
import { WaybillError, assertNever, messageOf } from "../protocol/index.ts";
import { chooseNext } from "./scheduler.ts";
import { ShardSet } from "./shard-set.ts";
import type { SourceKind } from "./source.ts";

export type SourceState = {
  readonly id: string;
  readonly kind: SourceKind;
  readonly cost: "free" | "paid";
  readonly window: number;
  readonly runEnd: (first: number) => number;
  readonly has: ShardSet;
  /** Whether `has` may still grow. */
  readonly mayGain: boolean;
  /** Shards it served badly and is not asked for again. */
  readonly refused: ShardSet;
  /** How often it served which shard badly. */
  readonly bad: ReadonlyMap<number, number>;
  /** Requests that failed since the last shard of it matched. */
  readonly failures: number;
  /** Why it is not used any more. */
  readonly gone: string | undefined;
};

export type Request = {
  readonly id: number;
  readonly source: string;
  /** First shard that has not been decided on. */
  readonly next: number;
  /** Ends before this shard. */
  readonly end: number;
};

export type DownloadState = {
  readonly phase: "running" | "done" | "failed";
  readonly missing: ShardSet;
  readonly done: ShardSet;
  readonly sources: ReadonlyMap<string, SourceState>;
  readonly requests: ReadonlyMap<number, Request>;
  readonly nextRequest: number;
};

export type NewSource = Pick<
  SourceState,
  "id" | "kind" | "cost" | "window" | "runEnd" | "has" | "mayGain"
>;

export type DownloadEvent =
  | { readonly type: "sources-added"; readonly sources: readonly NewSource[] }
  | { readonly type: "source-has"; readonly source: string; readonly has: ShardSet }
  | { readonly type: "source-gone"; readonly source: string; readonly reason: string }
  /** The next `count` shards of a request arrived, matched and are stored. */
  | { readonly type: "matched"; readonly request: number; readonly count: number }
  /** The next shard of a request does not match its digest; the request is over. */
  | { readonly type: "bad-shard"; readonly request: number }
  /** The request is over: by itself, or with an error. */
  | {
      readonly type: "ended";
      readonly request: number;
      readonly error?: unknown;
      /** Whether the error means the source as a whole. */
      readonly final?: boolean;
    }
  /** The caller cancelled, or bytes cannot be stored. */
  | { readonly type: "stopped"; readonly error: unknown };

export type DownloadEffect =
  | {
      readonly type: "fetch";
      readonly request: number;
      readonly source: string;
      readonly run: ShardRun;
    }
  /** The request ends earlier than it was started for. */
  | { readonly type: "shorten"; readonly request: number; readonly end: number }
  | { readonly type: "cancel"; readonly request: number }
  | { readonly type: "drop"; readonly source: string; readonly reason: string }
  | { readonly type: "finish" }
  | { readonly type: "fail"; readonly error: unknown };

export type DownloadStep = {
  readonly state: DownloadState;
  readonly effects: readonly DownloadEffect[];
};

/** Failed requests in a row, each already retried by the source itself, before it is given up. */
const MAX_FAILURES = 3;

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

/** The first state: nothing in flight, `done` already there. */
export function beginDownload(count: number, done: ShardSet): DownloadState {
  return {
    phase: "running",
    missing: ShardSet.all(count).minus(done),
    done,
    sources: new Map(),
    requests: new Map(),
    nextRequest: 1,
  };
}

/** The machine. Events of requests and sources that are over change nothing. */
export function nextDownload(
  state: DownloadState,
  event: DownloadEvent,
  map: ShardMap,
): DownloadStep {
  if (state.phase !== "running") return { state, effects: [] };
  switch (event.type) {
    case "sources-added":
      return proceed(event.sources.reduce(addSource, state), [], map);
    case "source-has":
      return proceed(editSource(state, event.source, { has: event.has }), [], map);
    case "source-gone":
      return removeSource(state, event.source, event.reason, map);
    case "matched":
      return onMatched(state, event.request, event.count, map);
    case "bad-shard":
      return onBadShard(state, event.request, map);
    case "ended":
      return onEnded(state, event, map);
    case "stopped":
      return {
        state: { ...state, phase: "failed" },
        effects: [...cancelAll(state), { type: "fail", error: event.error }],
      };
    default:
      return assertNever(event);
  }
}

function addSource(state: DownloadState, source: NewSource): DownloadState {
  if (state.sources.has(source.id)) return state;
  const added: SourceState = {
    ...source,
    refused: ShardSet.empty,
    bad: new Map(),
    failures: 0,
    gone: undefined,
  };
  return { ...state, sources: new Map(state.sources).set(source.id, added) };
}

function editSource(state: DownloadState, id: string, change: Partial<SourceState>): DownloadState {
  const source = state.sources.get(id);
  if (source === undefined || source.gone !== undefined) return state;
  return { ...state, sources: new Map(state.sources).set(id, { ...source, ...change }) };
}

function onMatched(state: DownloadState, id: number, count: number, map: ShardMap): DownloadStep {
  const request = state.requests.get(id);
  if (request === undefined) return { state, effects: [] };
  const run = { first: request.next, count: Math.min(count, request.end - request.next) };
  const requests = new Map(state.requests).set(id, { ...request, next: run.first + run.count });
  const after = editSource({ ...state, requests, done: state.done.with(run) }, request.source, {
    failures: 0,
  });
  return proceed(after, [], map);
}

function onBadShard(state: DownloadState, id: number, map: ShardMap): DownloadStep {
  const request = state.requests.get(id);
  if (request === undefined) return { state, effects: [] };
  const source = state.sources.get(request.source);
  if (source === undefined) return { state, effects: [] };
  const shard = request.next;
  const times = (source.bad.get(shard) ?? 0) + 1;
  const bad = new Map(source.bad).set(shard, times);
  const { tries, ban } = BLAME[source.kind];
  const given = times >= tries;
  const refused = given ? source.refused.with({ first: shard, count: 1 }) : source.refused;
  const after = editSource(endRequest(state, request), source.id, { bad, refused });
  if (!given || !ban) return proceed(after, [], map);
  return removeSource(after, source.id, badReason(source.id, shard, map), map);
}

/** Names what was wrong with what from whom. */
function badReason(source: string, shard: number, map: ShardMap): string {
  const { path } = map.file(map.locate(shard).file);
  return `shard ${shard} (of ${path}) from ${source} failed its hash`;
}

function onEnded(
  state: DownloadState,
  event: Extract<DownloadEvent, { type: "ended" }>,
  map: ShardMap,
): DownloadStep {
  const request = state.requests.get(event.request);
  if (request === undefined) return { state, effects: [] };
  const short = request.next < request.end;
  const after = endRequest(state, request);
  const source = state.sources.get(request.source);
  if (source === undefined || (event.error === undefined && !short)) return proceed(after, [], map);
  const reason =
    event.error === undefined ? "sent less than it was asked for" : messageOf(event.error);
  const failures = source.failures + 1;
  if (event.final === true || failures >= MAX_FAILURES) {
    return removeSource(after, source.id, reason, map);
  }
  return proceed(editSource(after, source.id, { failures }), [], map);
}

/** Ends a request; what it did not bring is missing again. */
function endRequest(state: DownloadState, request: Request): DownloadState {
  const requests = new Map(state.requests);
  requests.delete(request.id);
  const left = { first: request.next, count: request.end - request.next };
  return { ...state, requests, missing: state.missing.with(left) };
}

function removeSource(
  state: DownloadState,
  id: string,
  reason: string,
  map: ShardMap,
): DownloadStep {
  const source = state.sources.get(id);
  if (source === undefined || source.gone !== undefined) return { state, effects: [] };
  const effects: DownloadEffect[] = [];
  let after = editSource(state, id, { gone: reason });
  for (const request of state.requests.values()) {
    if (request.source !== id) continue;
    after = endRequest(after, request);
    effects.push({ type: "cancel", request: request.id });
  }
  effects.push({ type: "drop", source: id, reason });
  return proceed(after, effects, map);
}

/** Starts whatever may start, and ends the transfer when it is over. */
function proceed(
  from: DownloadState,
  before: readonly DownloadEffect[],
  map: ShardMap,
): DownloadStep {
  const effects = [...before];
  let state = from;
  for (;;) {
    const choice = chooseNext(state, map);
    if (choice === undefined) break;
    if (choice.type === "steal") {
      const victim = state.requests.get(choice.from);
      if (victim === undefined) break;
      const shortened = new Map(state.requests).set(victim.id, { ...victim, end: choice.end });
      state = { ...state, requests: shortened };
      effects.push({ type: "shorten", request: victim.id, end: choice.end });
    }
    const { run, source } = choice;
    const id = state.nextRequest;
    const request: Request = { id, source, next: run.first, end: run.first + run.count };
    state = {
      ...state,
      missing: state.missing.without(run),
      requests: new Map(state.requests).set(id, request),
      nextRequest: id + 1,
    };
    effects.push({ type: "fetch", request: id, source, run });
  }
  return conclude(state, effects, map);
}

function conclude(
  state: DownloadState,
  effects: readonly DownloadEffect[],
  map: ShardMap,
): DownloadStep {
  if (state.requests.size > 0) return { state, effects };
  if (state.missing.isEmpty) {
    return { state: { ...state, phase: "done" }, effects: [...effects, { type: "finish" }] };
  }
  // No live source had anything of what is missing, or it would be on its way. One that may gain shards
  // is waited for; it goes by itself when it gives up.
  const live = [...state.sources.values()].filter((source) => source.gone === undefined);
  if (live.some((source) => source.mayGain)) return { state, effects };
  return {
    state: { ...state, phase: "failed" },
    effects: [...effects, { type: "fail", error: noSourceLeft(state, map) }],
  };
}

/** Says of every source why it cannot give what is missing (I8). */
function noSourceLeft(state: DownloadState, map: ShardMap): WaybillError {
  const reasons = [...state.sources.values()].map((source) => {
    if (source.gone !== undefined) return `${source.id}: ${source.gone}`;
    const refused = state.missing.intersect(source.refused).firstRun();
    if (refused !== undefined) return badReason(source.id, refused.first, map);
    return `${source.id}: does not have it`;
  });
  const why = reasons.length === 0 ? "there is no source" : reasons.join("; ");
  return new WaybillError(
    "no_source_left",
    `no source is left for ${state.missing.size} of ${map.count} shards (${why})`,
    { hint: "run the same command again: what has arrived is kept" },
  );
}

function cancelAll(state: DownloadState): DownloadEffect[] {
  return [...state.requests.keys()].map((request) => ({ type: "cancel", request }));
}

// One step of the download's machine: the edits that its events make, the starts that follow from them, and the
// end. Pure to its caller: it begins with a state and gives another one, with effects.
import type { ShardMap, ShardRun } from "../artifact/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { type Request, newRequest, receivedBy, restOf, stallsAtMs } from "./download-request.ts";
import type { DownloadEffect, DownloadState, DownloadStep } from "./download-state.ts";
import { missesDeadline, rankOf } from "./policy.ts";
import { type Choice, ableShards, busyRequests, chooseNext } from "./scheduler.ts";
import { watchLags, watchesLags } from "./source-lag.ts";
import { ShardSet } from "./shard-set.ts";
import {
  type NewSource,
  type SourceState,
  begun,
  blamed,
  eased,
  failed,
  isReady,
  isSick,
  moved,
  newSource,
  objectRun,
  rested,
  sourceRate,
  tallied,
  trusted,
} from "./source-state.ts";

/** In the tail, and while a deadline or a free source's pace is watched, the choice is looked at again this often. */
const TAIL_MS = 100;
const DEADLINE_MS = 500;
const LAG_MS = 500;

/** A state that is edited and the effects it gathers. */
export class DownloadEdit {
  #state: DownloadState;
  readonly #effects: DownloadEffect[] = [];
  readonly #map: ShardMap;
  readonly #nowMs: number;

  constructor(state: DownloadState, map: ShardMap, nowMs: number) {
    this.#state = state;
    this.#map = map;
    this.#nowMs = nowMs;
  }

  result(): DownloadStep {
    return { state: this.#state, effects: this.#effects };
  }

  add(sources: readonly NewSource[]): void {
    const fresh = sources.filter(({ id }) => !this.#state.sources.has(id));
    const remote = [...fresh, ...this.#state.sources.values()].filter(
      ({ kind }) => kind !== "cache",
    );
    for (const source of fresh) {
      const beside = source.kind !== "cache" && remote.length > 1;
      this.#setSource(newSource(source, beside, this.#nowMs));
    }
  }

  /** Changes a living source. */
  edit(id: string, change: (source: SourceState) => SourceState): void {
    const source = this.#state.sources.get(id);
    if (source !== undefined && source.gone === undefined) this.#setSource(change(source));
  }

  remove(id: string, reason: string): void {
    const source = this.#state.sources.get(id);
    if (source === undefined || source.gone !== undefined) return;
    for (const request of this.#state.requests.values()) {
      if (request.source === id) this.#cancel(request);
    }
    this.edit(id, (after) => ({ ...after, gone: reason }));
    this.#effects.push({ type: "drop", source: id, reason });
  }

  /** Whether the source may have more requests now than before. */
  receive(id: number, bytes: number): boolean {
    const request = this.#state.requests.get(id);
    const source = request && this.#state.sources.get(request.source);
    if (request === undefined || source === undefined) return false;
    const nowMs = this.#nowMs;
    const first = request.receivedBytes === 0 && bytes > 0;
    const firstAfterMs = first ? nowMs - request.startedMs : undefined;
    const busy = busyRequests(this.#state, source.id);
    const { leftBytes } = this.#state;
    const after = moved(source, bytes, { busy, nowMs, firstAfterMs, leftBytes });
    this.#setRequest(receivedBy(request, bytes, nowMs));
    this.#setSource(after);
    return after.window.size > source.window.size;
  }

  hold(id: number): void {
    const request = this.#state.requests.get(id);
    if (request !== undefined) this.#setRequest({ ...request, held: true });
  }

  /** What is under way stays; what is asked for next begins with these. */
  hurry(shards: ShardSet): void {
    this.#state = { ...this.#state, urgent: shards };
  }

  match(source: string, id: number, run: ShardRun): void {
    const fresh = ShardSet.of([run]).minus(this.#state.done);
    const bytes = bytesOf(this.#map, fresh);
    this.#state = {
      ...this.#state,
      done: this.#state.done.with(run),
      missing: this.#state.missing.without(run),
      leftBytes: this.#state.leftBytes - bytes,
    };
    this.edit(source, (one) => trusted(one, fresh.size, bytes));
    const request = this.#state.requests.get(id);
    if (request !== undefined) {
      const next = Math.max(request.next, Math.min(request.end, run.first + run.count));
      const countedBytes = request.countedBytes + bytes;
      this.#setRequest({ ...request, next, countedBytes, lastByteMs: this.#nowMs });
    }
    this.#cancelLosers(id);
  }

  blame(id: number): void {
    const request = this.#state.requests.get(id);
    if (request === undefined) return;
    this.#over(request);
    const source = this.#state.sources.get(request.source);
    if (source === undefined || source.gone !== undefined) return;
    const after = blamed(source, request.next);
    this.#setSource(after.source);
    if (after.ban) this.remove(source.id, badReason(source.id, request.next, this.#map));
  }

  end(id: number, error: unknown): void {
    const request = this.#state.requests.get(id);
    if (request === undefined) return;
    const short = request.next < request.end;
    this.#over(request);
    if (error === undefined && !short) {
      this.edit(request.source, eased);
      return;
    }
    this.#failed(
      request,
      error ?? new WaybillError("storage_failed", `${request.source} sent less than asked for`),
    );
  }

  /** The time that was asked for has come, or almost: ends the requests that have been silent for too long. */
  tick(): void {
    this.#state = { ...this.#state, wakeAtMs: Infinity };
    for (const request of this.#state.requests.values()) {
      if (stallsAtMs(request) > this.#nowMs || !this.#state.requests.has(request.id)) continue;
      const seconds = Math.round((this.#nowMs - request.lastByteMs) / 1000);
      this.#cancel(request);
      this.#failed(
        request,
        new WaybillError("timeout", `${request.source} sent no byte for ${seconds} s`),
      );
    }
  }

  fail(error: unknown): DownloadStep {
    for (const request of this.#state.requests.keys()) {
      this.#effects.push({ type: "cancel", request });
    }
    this.#effects.push({ type: "fail", error });
    this.#state = { ...this.#state, phase: "failed" };
    return this.result();
  }

  /** Starts whatever may start, and ends the transfer when it is over. */
  proceed(): DownloadStep {
    this.#watchDeadline();
    this.#state = watchLags(this.#state, this.#nowMs);
    for (;;) {
      const choice = chooseNext(this.#state, this.#map, this.#nowMs);
      if (choice === undefined) break;
      this.#start(choice);
    }
    const { requests, missing } = this.#state;
    if (requests.size === 0) {
      if (missing.isEmpty) {
        this.#state = { ...this.#state, phase: "done" };
        this.#effects.push({ type: "finish" });
        return this.result();
      }
      if (!this.#mayGoOn()) return this.fail(noSourceLeft(this.#state, this.#map));
    }
    this.#wake();
    return this.result();
  }

  #setSource(source: SourceState): void {
    const sources = new Map(this.#state.sources).set(source.id, source);
    this.#state = { ...this.#state, sources };
  }

  #setRequest(request: Request): void {
    const requests = new Map(this.#state.requests).set(request.id, request);
    this.#state = { ...this.#state, requests };
  }

  #start(choice: Choice): void {
    const id = this.#state.nextRequest;
    const { run, source } = choice;
    const hedgeOf = choice.type === "hedge" ? choice.of : undefined;
    const helped = this.#state.requests.get(choice.type === "steal" ? choice.from : (hedgeOf ?? 0));
    if (choice.type === "steal" && helped !== undefined) {
      this.#setRequest({ ...helped, end: choice.end });
      this.#effects.push({ type: "shorten", request: helped.id, end: choice.end });
    }
    if (hedgeOf !== undefined && helped !== undefined)
      this.#setRequest({ ...helped, hedgedBy: id });
    const busy = busyRequests(this.#state, source);
    this.edit(source, (one) => begun(one, busy, this.#nowMs));
    if (hedgeOf !== undefined) this.edit(source, (one) => tallied(one, { hedges: 1 }));
    this.#setRequest(newRequest(id, source, run, this.#nowMs, hedgeOf));
    this.#state = {
      ...this.#state,
      missing: this.#state.missing.without(run),
      nextRequest: id + 1,
    };
    const hedge = hedgeOf === undefined ? {} : { hedgeOf };
    this.#effects.push({ type: "fetch", request: id, source, run, ...hedge });
  }

  /** Takes a request off the list; what it did not bring, and nobody else is bringing, is missing again. */
  #over(request: Request): void {
    const requests = new Map<number, Request>();
    let left = ShardSet.of([restOf(request)]).minus(this.#state.done);
    for (const other of this.#state.requests.values()) {
      if (other.id === request.id) continue;
      left = left.without(restOf(other));
      requests.set(other.id, {
        ...other,
        hedgeOf: other.hedgeOf === request.id ? undefined : other.hedgeOf,
        hedgedBy: other.hedgedBy === request.id ? undefined : other.hedgedBy,
      });
    }
    this.#state = { ...this.#state, requests, missing: this.#state.missing.union(left) };
    const wastedBytes = Math.max(0, request.receivedBytes - request.countedBytes);
    const busy = busyRequests(this.#state, request.source);
    this.edit(request.source, (one) => rested(tallied(one, { wastedBytes }), busy, this.#nowMs));
  }

  #cancel(request: Request): void {
    this.#over(request);
    this.#effects.push({ type: "cancel", request: request.id });
  }

  /** Ends the requests whose every shard has come from somebody else. */
  #cancelLosers(winner: number): void {
    for (const request of this.#state.requests.values()) {
      if (request.id === winner || !this.#state.done.has(request.next)) continue;
      if (!ShardSet.of([restOf(request)]).minus(this.#state.done).isEmpty) continue;
      const won = this.#state.requests.get(winner);
      if (won?.hedgeOf === request.id) {
        this.edit(won.source, (one) => tallied(one, { hedgesWon: 1 }));
      }
      this.#cancel(request);
    }
  }

  #failed(request: Request, error: unknown): void {
    const source = this.#state.sources.get(request.source);
    if (source === undefined || source.gone !== undefined) return;
    const { retryForMs } = this.#state;
    const after = failed(source, error, {
      nowMs: this.#nowMs,
      retryForMs,
      random: this.#random(),
      object: objectRun(this.#map, request.next),
      busy: busyRequests(this.#state, source.id),
    });
    if (after.type === "gone") {
      this.remove(source.id, after.reason);
      return;
    }
    this.#setSource(after.source);
    const waitMs = Math.max(0, after.source.pausedUntilMs - this.#nowMs);
    this.#effects.push({ type: "retry", source: source.id, error, waitMs });
  }

  /** Uniform in [0, 1); a linear congruential generator is plenty for jitter. */
  #random(): number {
    const seed = (Math.imul(this.#state.seed, 1_664_525) + 1_013_904_223) >>> 0;
    this.#state = { ...this.#state, seed };
    return seed / 2 ** 32;
  }

  #watchDeadline(): void {
    const { prefer, paidJoined, startedMs, leftBytes } = this.#state;
    if (typeof prefer !== "object" || paidJoined) return;
    const cheaper = [...this.#state.sources.values()].filter(
      (source) =>
        isReady(source, this.#nowMs) && !isSick(source) && rankOf(source, prefer, false) < 2,
    );
    const missed = missesDeadline({
      deadlineAtMs: startedMs + prefer.deadlineMs,
      startedMs,
      nowMs: this.#nowMs,
      leftBytes,
      bytesPerS: cheaper.map((source) =>
        sourceRate(source, busyRequests(this.#state, source.id), this.#nowMs),
      ),
    });
    if (missed) this.#state = { ...this.#state, paidJoined: true };
  }

  /** Whether something that is missing may still come from a source that rests, or gains shards. */
  #mayGoOn(): boolean {
    return [...this.#state.sources.values()].some((source) => {
      if (source.gone !== undefined) return false;
      if (source.mayGain) return true;
      const able = ableShards(this.#state, this.#map, source);
      return !isReady(source, this.#nowMs) && !this.#state.missing.intersect(able).isEmpty;
    });
  }

  #wake(): void {
    const nowMs = this.#nowMs;
    const { requests, sources, missing, prefer, paidJoined, wakeAtMs } = this.#state;
    const times = [...requests.values()].map(stallsAtMs);
    for (const { gone, pausedUntilMs } of sources.values()) {
      if (gone === undefined && pausedUntilMs > nowMs) times.push(pausedUntilMs);
    }
    if (missing.isEmpty && requests.size > 0) times.push(nowMs + TAIL_MS);
    if (typeof prefer === "object" && !paidJoined) times.push(nowMs + DEADLINE_MS);
    if (requests.size > 0 && watchesLags(this.#state)) times.push(nowMs + LAG_MS);
    const atMs = Math.max(nowMs + 1, Math.min(...times));
    // A wake that comes early does no harm; asking again for each event would.
    if (!Number.isFinite(atMs) || (wakeAtMs > nowMs && wakeAtMs <= atMs)) return;
    this.#state = { ...this.#state, wakeAtMs: atMs };
    this.#effects.push({ type: "wake", atMs });
  }
}

function bytesOf(map: ShardMap, shards: ShardSet): number {
  return shards.runs().reduce((sum, run) => sum + map.bytesOf(run), 0);
}

/** Names what was wrong with what from whom. */
function badReason(source: string, shard: number, map: ShardMap): string {
  const { path } = map.file(map.locate(shard).file);
  return `shard ${shard} (of ${path}) from ${source} failed its hash`;
}

/** Says of every source why it cannot give what is missing (I8). */
function noSourceLeft(state: DownloadState, map: ShardMap): WaybillError {
  const reasons = [...state.sources.values()].map((source) => {
    if (source.gone !== undefined) return `${source.id}: ${source.gone}`;
    const refused = state.missing.intersect(source.refused).firstRun();
    if (refused === undefined) return `${source.id}: does not have it`;
    if (source.suspect.has(refused.first)) return badReason(source.id, refused.first, map);
    return `${source.id}: ${source.refusedWhy ?? "does not have it"}`;
  });
  const why = reasons.length === 0 ? "there is no source" : reasons.join("; ");
  return new WaybillError(
    "no_source_left",
    `no source is left for ${state.missing.size} of ${map.count} shards (${why})`,
    { hint: "run the same command again: what has arrived is kept" },
  );
}

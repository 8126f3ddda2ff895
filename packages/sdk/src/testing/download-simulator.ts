// A download in virtual time: the real machine, sources and links as simple fluids. Seconds of transfer take
// milliseconds of test, and the same every time.
import type { ShardRun } from "../artifact/index.ts";
import { WaybillError } from "../protocol/index.ts";
import { type SourceReport, reportSources } from "../transfer/download-report.ts";
import {
  type DownloadEvent,
  type DownloadState,
  beginDownload,
  nextDownload,
} from "../transfer/download-state.ts";
import type { Preference } from "../transfer/policy.ts";
import { ShardSet } from "../transfer/shard-set.ts";
import type { SourceKind } from "../transfer/source.ts";
import { mapOf } from "./download-machine.ts";

export type SimulatedSource = {
  readonly id: string;
  readonly kind?: SourceKind;
  readonly cost?: "free" | "paid";
  readonly window?: number;
  readonly patienceMs?: number;
  readonly giveUpMs?: number;
  /** All its connections together, at a time. */
  readonly bytesPerS: number | ((nowMs: number) => number);
  readonly connectionBytesPerS?: number;
  /** From a request to its first byte. */
  readonly answerMs?: number;
  /** From this time on every request is reset, or hears nothing any more. */
  readonly dies?: { readonly atMs: number; readonly how: "reset" | "silent" };
  /** Of every answer it sends half; then the connection is reset, or silent. */
  readonly halves?: "reset" | "silent";
  /** Whether a shard it sends is wrong. */
  readonly isBad?: (shard: number) => boolean;
  /** More requests at once than this are refused with 503 and `Retry-After`. */
  readonly refusesAbove?: number;
};

export type Simulation = {
  readonly state: DownloadState;
  readonly report: readonly SourceReport[];
  readonly ms: number;
  readonly bytes: number;
  /** Longest time without a byte. */
  readonly stallMs: number;
  /** Bytes that all sources sent. */
  readonly sentBytes: number;
  readonly error: unknown;
  /** Most requests at once, by source. */
  readonly mostBusy: ReadonlyMap<string, number>;
};

type Flow = {
  readonly source: SimulatedSource;
  readonly request: number;
  readonly startedMs: number;
  /** Bytes it asked for, and what of them came. */
  readonly askedBytes: number;
  cameBytes: number;
  next: number;
  end: number;
  /** Bytes of the next shard that came. */
  part: number;
  untold: number;
  toldMs: number;
  /** Ends the request at the next step. */
  error: WaybillError | undefined;
};

const STEP_MS = 5;
const TELL_MS = 100;
const GIVE_UP_MS = 3_600_000;

/** Runs a download to its end. */
export function simulate(init: {
  readonly shards: number;
  readonly shardBytes?: number;
  readonly sources: readonly SimulatedSource[];
  readonly prefer?: Preference;
  readonly retryForMs?: number;
}): Simulation {
  return new Simulator(init).run();
}

class Simulator {
  readonly #shardBytes: number;
  readonly #map: ReturnType<typeof mapOf>;
  readonly #sources: readonly SimulatedSource[];
  readonly #flows = new Map<number, Flow>();
  readonly #mostBusy = new Map<string, number>();
  #state: DownloadState;
  #nowMs = 0;
  #wakeMs = Infinity;
  #sentBytes = 0;
  #lastByteMs = 0;
  #stallMs = 0;
  #error: unknown;

  constructor(init: Parameters<typeof simulate>[0]) {
    this.#shardBytes = init.shardBytes ?? 1024 * 1024;
    this.#map = mapOf(init.shards, this.#shardBytes);
    this.#sources = init.sources;
    const { prefer = "cheap", retryForMs = 600_000 } = init;
    const done = ShardSet.empty;
    this.#state = beginDownload({ map: this.#map, done, nowMs: 0, prefer, retryForMs, seed: 7 });
  }

  run(): Simulation {
    const has = ShardSet.all(this.#map.count);
    const sources = this.#sources.map(
      ({ id, kind = "http", cost = "free", window = 32, ...source }: SimulatedSource) => ({
        id,
        kind,
        cost,
        window,
        patienceMs: source.patienceMs,
        giveUpMs: source.giveUpMs,
        has,
        mayGain: false,
        runEnd: () => this.#map.count,
      }),
    );
    this.#send({ type: "sources-added", sources, nowMs: 0 });
    while (this.#state.phase === "running" && this.#nowMs < GIVE_UP_MS) this.#step();
    return {
      state: this.#state,
      report: reportSources(this.#state),
      ms: this.#nowMs,
      bytes: this.#map.bytes,
      stallMs: this.#stallMs,
      sentBytes: this.#sentBytes,
      error: this.#error,
      mostBusy: this.#mostBusy,
    };
  }

  #step(): void {
    this.#nowMs += STEP_MS;
    for (const source of this.#sources) this.#pour(source);
    for (const flow of this.#flows.values()) this.#settle(flow);
    if (this.#nowMs >= this.#wakeMs) {
      this.#wakeMs = Infinity;
      this.#send({ type: "tick", nowMs: this.#nowMs });
    }
    this.#stallMs = Math.max(this.#stallMs, this.#nowMs - this.#lastByteMs);
  }

  /** Deals a step's bytes of a source out to its connections. */
  #pour(source: SimulatedSource): void {
    const nowMs = this.#nowMs;
    const { bytesPerS, connectionBytesPerS = Infinity, answerMs = 20, dies, halves } = source;
    const own = [...this.#flows.values()].filter((flow) => flow.source === source);
    if (dies !== undefined && nowMs >= dies.atMs) {
      if (dies.how === "reset") for (const flow of own) flow.error = reset();
      return;
    }
    const open = own.filter((flow) => nowMs - flow.startedMs >= answerMs);
    const all = typeof bytesPerS === "function" ? bytesPerS(nowMs) : bytesPerS;
    const each = (Math.min(all / open.length, connectionBytesPerS) * STEP_MS) / 1000;
    for (const flow of open) {
      const left = (flow.end - flow.next) * this.#shardBytes - flow.part;
      const cut = halves === undefined ? Infinity : flow.askedBytes / 2 - flow.cameBytes;
      const bytes = Math.min(each, left, cut);
      if (cut <= 0 && halves === "reset") flow.error = reset();
      if (bytes <= 0) continue;
      flow.cameBytes += bytes;
      flow.part += bytes;
      flow.untold += bytes;
      this.#sentBytes += bytes;
      this.#lastByteMs = nowMs;
    }
  }

  /** Tells the machine what a step brought. */
  #settle(flow: Flow): void {
    const { request, source } = flow;
    const nowMs = this.#nowMs;
    const left = (flow.end - flow.next) * this.#shardBytes - flow.part;
    const over = flow.error !== undefined || left < 1e-6;
    if (flow.untold > 0 && (over || nowMs - flow.toldMs >= TELL_MS)) {
      this.#send({ type: "received", request, bytes: flow.untold, nowMs });
      flow.untold = 0;
      flow.toldMs = nowMs;
    }
    while (flow.next < flow.end && flow.part >= this.#shardBytes - 1e-6) {
      if (!this.#flows.has(request)) return;
      if (source.isBad?.(flow.next) === true) {
        this.#flows.delete(request);
        this.#send({ type: "bad-shard", request, nowMs });
        return;
      }
      const run: ShardRun = { first: flow.next, count: 1 };
      flow.part -= this.#shardBytes;
      flow.next += 1;
      this.#send({ type: "matched", source: source.id, request, run, nowMs });
    }
    if (!this.#flows.has(request)) return;
    const { error } = flow;
    if (error === undefined && flow.next < flow.end) return;
    this.#flows.delete(request);
    this.#send({ type: "ended", request, nowMs, ...(error === undefined ? {} : { error }) });
  }

  #send(event: DownloadEvent): void {
    const { state, effects } = nextDownload(this.#state, event, this.#map);
    this.#state = state;
    for (const effect of effects) {
      if (effect.type === "fetch") this.#open(effect.request, effect.source, effect.run);
      else if (effect.type === "cancel") this.#flows.delete(effect.request);
      else if (effect.type === "wake") this.#wakeMs = effect.atMs;
      else if (effect.type === "fail") this.#error = effect.error;
      else if (effect.type === "shorten") {
        const flow = this.#flows.get(effect.request);
        if (flow !== undefined) flow.end = effect.end;
      }
    }
  }

  #open(request: number, id: string, run: ShardRun): void {
    const source = this.#sources.find((one) => one.id === id);
    if (source === undefined) return;
    const busy = [...this.#flows.values()].filter((flow) => flow.source === source).length + 1;
    this.#mostBusy.set(id, Math.max(busy, this.#mostBusy.get(id) ?? 0));
    const refused = busy > (source.refusesAbove ?? Infinity);
    this.#flows.set(request, {
      source,
      request,
      startedMs: this.#nowMs,
      askedBytes: run.count * this.#shardBytes,
      cameBytes: 0,
      next: run.first,
      end: run.first + run.count,
      part: 0,
      untold: 0,
      toldMs: this.#nowMs - TELL_MS,
      error: refused
        ? new WaybillError("storage_failed", "503 SlowDown", { retryAfterMs: 1000 })
        : undefined,
    });
  }
}

function reset(): WaybillError {
  return new WaybillError("unreachable", "connection reset");
}

// The download machine in the hands of a test: one packed file of small shards, sources by name.
import { ShardMap } from "../artifact/index.ts";
import { ArtifactManifest, decodeValue } from "../protocol/index.ts";
import {
  type DownloadEffect,
  type DownloadEvent,
  type DownloadInit,
  type DownloadState,
  type NewSource,
  beginDownload,
  nextDownload,
} from "../transfer/download-state.ts";
import { ShardSet } from "../transfer/shard-set.ts";

/** One packed file of `count` shards. */
export function mapOf(count: number, shardBytes = 1024): ShardMap {
  const shards = Array.from({ length: count }, (_, at) => at.toString(16).padStart(64, "0"));
  const file = { path: "data.bin", size: count * shardBytes, shards };
  const manifest = { format: 1, name: "t", layout: "packed", shardBytes, files: [file] };
  return new ShardMap(decodeValue(ArtifactManifest, manifest, "manifest"));
}

export function source(id: string, init: Partial<NewSource> = {}): NewSource {
  return {
    id,
    kind: "s3",
    cost: "paid",
    window: 2,
    has: ShardSet.all(1000),
    mayGain: false,
    runEnd: () => Number.POSITIVE_INFINITY,
    ...init,
  };
}

/** An event as tests write it: the time is the machine's, shards are counted from where the request is. */
export type Told = DownloadEvent extends infer E
  ? E extends { readonly type: "matched" }
    ? { readonly type: "matched"; readonly request: number; readonly count: number }
    : E extends DownloadEvent
      ? Omit<E, "nowMs">
      : never
  : never;

/** Drives the machine and remembers every effect. */
export class Machine {
  readonly map: ShardMap;
  readonly effects: DownloadEffect[] = [];
  state: DownloadState;
  nowMs = 0;

  constructor(count: number, init: Partial<Omit<DownloadInit, "map">> = {}) {
    this.map = mapOf(count);
    this.state = beginDownload({ map: this.map, done: ShardSet.empty, nowMs: 0, ...init });
  }

  send(told: Told): readonly DownloadEffect[] {
    return this.feed(this.#event(told));
  }

  /** An event as the runner writes it. */
  feed(event: DownloadEvent): readonly DownloadEffect[] {
    const step = nextDownload(this.state, event, this.map);
    this.state = step.state;
    this.effects.push(...step.effects);
    return step.effects;
  }

  add(...sources: NewSource[]): readonly DownloadEffect[] {
    return this.send({ type: "sources-added", sources });
  }

  /** Lets time pass and ticks. */
  wait(ms: number): readonly DownloadEffect[] {
    this.nowMs += ms;
    return this.send({ type: "tick" });
  }

  /** Brings a whole request: its shards match, then it ends. */
  finish(request: number): readonly DownloadEffect[] {
    const { next = 0, end = 0 } = this.state.requests.get(request) ?? {};
    return [
      ...this.send({ type: "matched", request, count: end - next }),
      ...this.send({ type: "ended", request }),
    ];
  }

  #event(told: Told): DownloadEvent {
    const { nowMs } = this;
    if (told.type !== "matched") return { ...told, nowMs };
    const request = this.state.requests.get(told.request);
    const run = { first: request?.next ?? 0, count: request === undefined ? 0 : told.count };
    return { type: "matched", source: request?.source ?? "", request: told.request, run, nowMs };
  }
}

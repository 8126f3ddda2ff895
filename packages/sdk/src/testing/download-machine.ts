// The download machine in the hands of a test: one packed file of small shards, sources by name.
import { ShardMap } from "../artifact/index.ts";
import { ArtifactManifest, decodeValue } from "../protocol/index.ts";
import {
  type DownloadEffect,
  type DownloadEvent,
  type DownloadState,
  type NewSource,
  beginDownload,
  nextDownload,
} from "../transfer/download-state.ts";
import { ShardSet } from "../transfer/shard-set.ts";

/** One packed file of `count` shards of 1 KiB. */
function mapOf(count: number): ShardMap {
  const shards = Array.from({ length: count }, (_, at) => at.toString(16).padStart(64, "0"));
  const file = { path: "data.bin", size: count * 1024, shards };
  const manifest = { format: 1, name: "t", layout: "packed", shardBytes: 1024, files: [file] };
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

/** Drives the machine and remembers every effect. */
export class Machine {
  readonly map: ShardMap;
  readonly effects: DownloadEffect[] = [];
  state: DownloadState;

  constructor(count: number, done = ShardSet.empty) {
    this.map = mapOf(count);
    this.state = beginDownload(count, done);
  }

  send(event: DownloadEvent): readonly DownloadEffect[] {
    const step = nextDownload(this.state, event, this.map);
    this.state = step.state;
    this.effects.push(...step.effects);
    return step.effects;
  }

  add(...sources: NewSource[]): readonly DownloadEffect[] {
    return this.send({ type: "sources-added", sources });
  }
}

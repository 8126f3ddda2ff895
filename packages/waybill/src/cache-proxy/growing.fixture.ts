// An origin in the hands of a test: shards of a tree in memory that come when the test says so.
import { ShardMap, artifactId } from "@waybill/sdk/artifact";
import { blake3Hex } from "@waybill/sdk/platform";
import {
  type ArtifactId,
  type ArtifactManifest,
  ArtifactName,
  Digest,
  type Layout,
  WaybillError,
  decodeValue,
} from "@waybill/sdk/protocol";
import { ShardSet, type Source, pullTree } from "@waybill/sdk/transfer";
import type { Origin } from "./origin.ts";

export type Room = {
  readonly artifact: ArtifactId;
  readonly map: ShardMap;
  /** All files one after the other. */
  readonly bytes: Buffer;
};

const SHARD_BYTES = 1024;

/** An artifact of a room; the files are in the order of their paths. */
export function roomWith(files: Readonly<Record<string, Buffer>>, layout: Layout): Room {
  const manifest: ArtifactManifest = {
    format: 1,
    name: decodeValue(ArtifactName, "digits", "name"),
    layout,
    shardBytes: SHARD_BYTES,
    files: Object.entries(files).map(([path, bytes]) => ({
      path,
      size: bytes.length,
      shards: Array.from({ length: Math.ceil(bytes.length / SHARD_BYTES) }, (_, at) =>
        decodeValue(
          Digest,
          blake3Hex(bytes.subarray(at * SHARD_BYTES, (at + 1) * SHARD_BYTES)),
          "shard",
        ),
      ),
    })),
  };
  const bytes = Buffer.concat(Object.values(files));
  return { artifact: artifactId(manifest), map: new ShardMap(manifest), bytes };
}

/** Gives shards in the order they are asked for, each when the test lets it through. */
export class HeldOrigin implements Origin {
  readonly pulls: ArtifactId[] = [];
  /** Shards in the order they were asked for. */
  readonly asked: number[] = [];
  /** Bytes of each shard that were sent. */
  sentBytes = 0;
  /** What pulls throw instead. */
  error: WaybillError | undefined;
  readonly #rooms: readonly Room[];
  #passes = 0;
  #waiting: (() => void)[] = [];

  constructor(...rooms: Room[]) {
    this.#rooms = rooms;
  }

  /** Lets so many further shards through. */
  let(shards: number): void {
    this.#passes += shards;
    while (this.#passes > 0 && this.#waiting.length > 0) {
      this.#passes -= 1;
      this.#waiting.shift()?.();
    }
  }

  async pull({ artifact, dir, signal, onTree }: Parameters<Origin["pull"]>[0]) {
    this.pulls.push(artifact);
    const room = this.#rooms.find((one) => one.artifact === artifact);
    if (this.error !== undefined) throw this.error;
    if (room === undefined) throw new WaybillError("not_found", "no such artifact");
    const { map } = room;
    const { manifest } = map;
    const source = this.#source(room);
    const pulled = await pullTree({
      artifact,
      manifest,
      dir,
      sources: [() => source],
      overwrite: true,
      readSoon: true,
      signal,
      onTree,
    });
    return { ...pulled, seconds: 1, manifest };
  }

  close(): void {}

  #source({ map, bytes }: Room): Source {
    return {
      id: "origin",
      kind: "s3",
      cost: "paid",
      window: 1,
      shards: () => ShardSet.all(map.count),
      runEnd: (first) => first + 1,
      fetch: (run, { signal }) => this.#fetch(map, bytes, run, signal),
    };
  }

  async *#fetch(
    map: ShardMap,
    bytes: Buffer,
    run: { readonly first: number; readonly count: number },
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    this.asked.push(run.first);
    await this.#pass(signal);
    if (this.error !== undefined) throw this.error;
    const start = map.position(run.first);
    const size = map.bytesOf(run);
    this.sentBytes += size;
    yield bytes.subarray(start, start + size);
  }

  #pass(signal: AbortSignal): Promise<void> {
    if (this.#passes > 0) {
      this.#passes -= 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
  }
}

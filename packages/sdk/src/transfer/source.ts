// What shards can be fetched from. A new way to move bytes is one folder that implements this interface and
// passes `source.conformance.ts`; the scheduler and the runner know nothing else of it.
import type { ShardRun } from "../artifact/index.ts";
import type { ArtifactId, ArtifactManifest } from "../protocol/index.ts";
import type { ShardMap } from "../artifact/index.ts";
import type { ShardSet } from "./shard-set.ts";

export type SourceKind = "cache" | "peer" | "torrent" | "s3" | "http" | "ssh";

export interface Source {
  /** Unique in a transfer, and for people: `s3 store.example`, `peer p_9f…`. Never holds a secret. */
  readonly id: string;
  readonly kind: SourceKind;
  /** Whether bytes from it cost someone money (egress, relay). */
  readonly cost: "free" | "paid";
  /** Requests it serves at once. */
  readonly window: number;

  /** Shards it has now. */
  shards(): ShardSet;

  /** Tells of changes of `shards()`; gives what ends it. Absent when they never change. */
  onShards?(listener: () => void): () => void;

  /** First shard that cannot be in one request with `first`; absent when any run is one request. */
  runEnd?(first: number): number;

  /**
   * The bytes of a run, in order, in pieces of any size; a piece is valid until the next one is asked for.
   * Throws when it cannot go on: a `WaybillError` that is not retryable ends the source, any other is a
   * failed request. It retries by itself what it expects to pass. It does not verify: the caller does.
   */
  fetch(run: ShardRun, options: { readonly signal: AbortSignal }): AsyncIterable<Uint8Array>;

  /** Releases what it holds; no request is under way. */
  close?(): Promise<void>;
}

/** What a source is made for. */
export type OpenArtifact = {
  readonly artifact: ArtifactId;
  readonly manifest: ArtifactManifest;
  readonly map: ShardMap;
};

/** Makes a source once the manifest is known; undefined when it has nothing of the artifact. */
export type SourceFactory = (
  artifact: OpenArtifact,
) => Source | undefined | Promise<Source | undefined>;

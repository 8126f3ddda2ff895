// What shards can be fetched from. A new way to move bytes is one folder that implements this interface and
// passes `source.conformance.ts`; the scheduler and the runner know nothing else of it.
import type { ShardRun } from "../artifact/index.ts";
import type { ArtifactId, ArtifactManifest } from "../protocol/index.ts";
import type { ShardMap } from "../artifact/index.ts";
import type { ShardSet } from "./shard-set.ts";

export type SourceKind = "cache" | "peer" | "torrent" | "s3" | "http" | "ssh";

/** What a source has learned of its link and its server; absent members are no limit. */
export type SourceAdvice = {
  /** Bytes a request may carry to end before the link resets its connection. */
  readonly maxRequestBytes?: number;
  /** Milliseconds a request may last. */
  readonly maxRequestMs?: number;
  readonly maxParallel?: number;
  /** It serves no ranges: for a run it sends everything before it in its object, too. */
  readonly wholeObjects?: boolean;
};

export type FetchOptions = {
  readonly signal: AbortSignal;
  /**
   * Memory in which byte `at` of the run and those after it belong, or undefined for now. A source that can
   * receive there saves a copy: its pieces are then that memory. It MUST NOT touch it after its iterator ended.
   */
  readonly into?: ((at: number) => Uint8Array | undefined) | undefined;
  /** Told by how many bytes what travelled was shorter than what it stands for, where it travels compressed. */
  readonly onSaved?: ((bytes: number) => void) | undefined;
};

export interface Source {
  /** Unique in a transfer, and for people: `s3 store.example`, `peer p_9f…`. Never holds a secret. */
  readonly id: string;
  readonly kind: SourceKind;
  /** Whether bytes from it cost someone money (egress, relay). */
  readonly cost: "free" | "paid";
  /** Most requests it serves at once; the scheduler begins with fewer and finds out how many pay. */
  readonly window: number;
  /** Milliseconds an answer will probably take, where that is known before the first one. */
  readonly expectedAnswerMs?: number | undefined;

  /** How long it may bring nothing while it is asked before it is given up. Default: as long as the transfer goes on trying. */
  readonly giveUpMs?: number | undefined;
  /**
   * A free source that is worth waiting for, such as a cache that fetches what it is asked for: for so long it holds back what
   * costs money although it is silent, and however slow it is. Default: docs/transfer.md, rule 1.
   */
  readonly patienceMs?: number | undefined;

  /** Shards it has now. */
  shards(): ShardSet;

  /** Tells of changes of `shards()`; gives what ends it. Absent when they never change. */
  onShards?(listener: () => void): () => void;

  /** Tells when it turns out to be of no use; gives what ends it. */
  onGone?(listener: (reason: string) => void): () => void;

  /** First shard that cannot be in one request with `first`; absent when any run is one request. */
  runEnd?(first: number): number;

  /**
   * The bytes of a run, in order, in pieces of any size; a piece is valid until the next one is asked for.
   * One attempt: where a connection broke it goes on by itself as long as bytes come, and otherwise throws at
   * once, so that another source can take over; when to ask again is the scheduler's. A `WaybillError` that
   * is not retryable ends the source (`not_found` and `source_changed`: its use for that object), any other
   * is a failed request, after which it rests for at least the error's `retryAfterMs`. It does not verify:
   * the caller does.
   */
  fetch(run: ShardRun, options: FetchOptions): AsyncIterable<Uint8Array>;

  /** Told when a shard it sent did not match. Whoever has it on a disk may want to look. Never throws. */
  onBadShard?(): void;

  /** What it has learned so far; asked for after every request. */
  advice?(): SourceAdvice;

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

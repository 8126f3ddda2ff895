// What an upload goes into. A sink accounts for what it already holds (server truth), permits bodies in
// batches, takes them in any order, copies what it has elsewhere, and at the end joins and checks them.
import type {
  ArtifactId,
  ArtifactRecord,
  CopiedPart,
  PartToCopy,
  PartToSign,
  SignedPart,
  UploadPlan,
  UploadStatus,
} from "../protocol/index.ts";

export type SinkOptions = { readonly signal: AbortSignal };

export type PutOptions = SinkOptions & {
  /** Told of body bytes as they are put on the wire. */
  readonly onSent: (bytes: number) => void;
  /** A kept connection that is older is not used, in milliseconds. */
  readonly maxConnectionAgeMs?: number;
  /** Told which connection carries the body, where that can be known. */
  readonly onConnection?: (connection: {
    /** On the clock of `performance.now()`. */
    readonly openedAtMs: number;
  }) => void;
};

/** Permits and how long they are good from when they were asked for, in milliseconds. */
export type Permits = {
  readonly parts: readonly SignedPart[];
  readonly validForMs: number;
};

/** The parts of one object that are joined, ascending; part 0 alone is an object that was put at once. */
export type JoinedObject = {
  readonly key: string;
  readonly parts: readonly { readonly part: number; readonly crc32: string }[];
};

/**
 * Errors every method may throw: `not_found` or `expired` when the upload itself is gone (it is begun
 * again), anything not retryable to give up. All but `put` retry by themselves; of `put` the upload's state
 * machine decides (`url_expired` → new permit, `precondition_failed` → `status`, retryable → later).
 */
export interface Sink {
  /** For messages. */
  readonly id: string;
  /** Milliseconds of a round trip to whoever keeps its account, when it knows. */
  readonly tripMs?: number | undefined;
  /** So many bodies will set out soon: connections may be opened for them. */
  expect?(bodies: number): void;
  begin(plan: UploadPlan, options: SinkOptions): Promise<UploadStatus>;
  /** What it holds of the upload now. */
  status(options: SinkOptions): Promise<UploadStatus>;
  authorise(parts: readonly PartToSign[], options: SinkOptions): Promise<Permits>;
  put(permit: SignedPart, body: Uint8Array, options: PutOptions): Promise<void>;
  /** Copies parts from artifacts it holds; one that cannot be copied is answered so, not thrown. */
  copy(copies: readonly PartToCopy[], options: SinkOptions): Promise<readonly CopiedPart[]>;
  complete(
    artifact: ArtifactId,
    objects: readonly JoinedObject[],
    options: SinkOptions,
  ): Promise<ArtifactRecord>;
  /** Takes an artifact it holds for this upload's; undefined when it cannot. */
  adopt(artifact: ArtifactId, options: SinkOptions): Promise<ArtifactRecord | undefined>;
}

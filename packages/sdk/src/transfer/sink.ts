// What an upload goes into. A sink accounts for what it already holds (server truth), permits bodies in
// batches, takes them in any order, and at the end joins and checks them.
import type {
  ArtifactId,
  ArtifactRecord,
  PartToSign,
  SignedPart,
  UploadPlan,
  UploadStatus,
} from "../protocol/index.ts";

export type SinkOptions = { readonly signal: AbortSignal };

export type PutOptions = SinkOptions & {
  /** Told of body bytes as they are put on the wire. */
  readonly onSent: (bytes: number) => void;
};

/** The parts' checksums of one multipart object, in order. */
export type JoinedObject = { readonly key: string; readonly parts: readonly string[] };

/**
 * Errors every method may throw: `not_found` or `expired` when the upload itself is gone (it is begun
 * again), anything not retryable to give up. `authorise`, `begin` and `complete` retry by themselves;
 * `put` does not: the upload's state machine decides (`url_expired` → new permit, retryable → later).
 */
export interface Sink {
  /** For messages. */
  readonly id: string;
  begin(plan: UploadPlan, options: SinkOptions): Promise<UploadStatus>;
  authorise(parts: readonly PartToSign[], options: SinkOptions): Promise<readonly SignedPart[]>;
  put(permit: SignedPart, body: Uint8Array, options: PutOptions): Promise<void>;
  complete(
    artifact: ArtifactId,
    objects: readonly JoinedObject[],
    options: SinkOptions,
  ): Promise<ArtifactRecord>;
}

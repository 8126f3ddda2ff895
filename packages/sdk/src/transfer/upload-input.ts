// What an upload is given, what it tells while it goes on, and what it leaves.
import type { TreeScan } from "../artifact/index.ts";
import {
  type ArtifactId,
  type ArtifactManifest,
  type ArtifactRecord,
  type UploadPlan,
  WaybillError,
} from "../protocol/index.ts";
import type { MatchBases } from "./matching-reader.ts";
import type { Sink } from "./sink.ts";

/** Bytes that did not have to be sent, by reason. */
export type SavedBytes = {
  /** An earlier run of the same push left them in the store. */
  readonly held: number;
  /** The store copied them from artifacts of the room. */
  readonly copied: number;
  /** The whole tree was one of the room's artifacts. */
  readonly identical: number;
  /** What was sent was that much shorter than what it stands for. */
  readonly compressed: number;
};

export type UploadProgress = {
  /** Bytes of the artifact that are confirmed (manifest included). */
  readonly bytes: number;
  /** All bytes; grows by the manifest's when it is known. */
  readonly total: number;
  /** Body bytes put on the wire, resends included. */
  readonly sentBytes: number;
  /** Bytes a second put on the wire lately; undefined before the first measurement. */
  readonly bytesPerS: number | undefined;
  readonly saved: SavedBytes;
  /** Bodies that had to be sent again. */
  readonly retries: number;
  /** Bodies on their way. */
  readonly inFlight: number;
  /** Size of the parts that are cut now. */
  readonly partBytes: number;
};

export type UploadInput = {
  readonly scan: TreeScan;
  readonly plan: UploadPlan;
  readonly sink: Sink;
  /** Artifacts to compare with; asked for while the sink begins. Undefined when there are none. */
  readonly findBases?: ((signal: AbortSignal) => Promise<MatchBases | undefined>) | undefined;
  /** A part that fails is tried again for this long. */
  readonly retryForMs: number;
  /** Bodies at once at most. */
  readonly concurrency?: number | undefined;
  /** Whether encoded objects are compressed even where the link is faster than that. */
  readonly alwaysCompress?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: UploadProgress) => void) | undefined;
  /** Told of waits, for logs. */
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
};

export type UploadOutcome = {
  readonly artifact: ArtifactId;
  readonly manifest: ArtifactManifest;
  /** What the sink recorded; undefined when it had completed this upload before, with `previous`. */
  readonly record: ArtifactRecord | undefined;
  /** The artifact an earlier run of the same upload completed. */
  readonly previous: string | undefined;
  readonly sentBytes: number;
  readonly saved: SavedBytes;
  readonly retries: number;
};

/**
 * The sink holds an encoded object whole, from a completion that was cut off: where its frames lie in it cannot be told
 * any more. Begin another upload.
 */
export class JoinedUnseen extends WaybillError {
  constructor(key: string) {
    super("conflict", `${key} was joined by a completion that did not end`);
  }
}

// What a data server serves: any number of artifacts, opened when they are asked for. A cache has them on its disk, a push
// has the one it sends, and a provider that fills begins to fetch what it does not have.
import type { ArtifactId, ArtifactManifest } from "@waybill/sdk/protocol";

export interface TreeProvider {
  /** What is here whole. */
  list(): Promise<readonly { readonly artifact: ArtifactId; readonly bytes: number }[]>;
  /**
   * Holds an artifact open for one answer; `undefined`: not here (404). One that fills begins to fetch it, and answers
   * once the manifest is known. Errors become statuses: `not_found` 404, `source_changed` 410, those that may pass 503.
   */
  open(artifact: ArtifactId, signal: AbortSignal): Promise<ServedTree | undefined>;
  /** A reader got a shard that does not match. Absent where nothing can be done about it. */
  damaged?(artifact: ArtifactId): void;
}

/** One artifact, held until it is released. */
export interface ServedTree {
  readonly manifest: ArtifactManifest;
  readonly objects: ServedObjects;
  /** Idempotent. */
  release(): void;
}

export interface ServedObjects {
  /** Plain bytes of an object; undefined when the artifact has none of that key. */
  sizeOf(key: string): number | undefined;
  /**
   * Bytes `start` … `end - 1`; a piece is valid until the next one is asked for. May wait for bytes that are still coming.
   * Throws as `open` does; before the first piece that becomes a status, after it the answer is cut off.
   */
  read(key: string, start: number, end: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

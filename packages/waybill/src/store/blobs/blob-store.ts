/**
 * Where bytes live: write-once blobs named by the store. A blob is invisible until `commit`, and
 * durable once `commit` has resolved; after that it never changes until it is deleted.
 */

export interface BlobStore {
  /** Makes the place ready and removes what an earlier process left half-written. */
  open(): Promise<void>;
  /** Starts a blob. The caller must `commit` or `abort` it. */
  create(): Promise<BlobWriter>;
  /** Opens a blob for reading. The caller must `close` the reader. */
  openReader(id: string): Promise<BlobReader>;
  /** Removes blobs; those that are gone already are no error. Open readers keep working. */
  delete(ids: readonly string[]): Promise<void>;
  /** Ids of all committed blobs, in no order. */
  list(): AsyncIterable<string>;
}

export interface BlobWriter {
  readonly id: string;
  /** Appends chunks; resolves when they have been handed to the file. One call at a time. */
  write(chunks: readonly Uint8Array[]): Promise<void>;
  /** Makes the blob durable and visible. */
  commit(): Promise<void>;
  /** Throws the bytes away. Safe after any failure, and idempotent. */
  abort(): Promise<void>;
}

export interface BlobReader {
  /**
   * Reads at a position.
   *
   * @returns bytes read; fewer than `into.length` only at the end of the blob
   */
  read(into: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

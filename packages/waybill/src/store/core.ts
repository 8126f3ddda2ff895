/** The parts of a running store that operations work with. */
import type { BlobStore } from "./blobs/blob-store.ts";
import type { BufferPool } from "./blobs/buffer-pool.ts";
import type { BlobPins } from "./blobs/pins.ts";
import type { Buckets } from "./metadata/buckets.ts";
import type { Contents } from "./metadata/contents.ts";
import type { MetadataDatabase } from "./metadata/database.ts";
import type { Objects } from "./metadata/objects.ts";
import type { Uploads } from "./metadata/uploads.ts";

/** One line of a store's log. Never holds a secret. */
export interface StoreLogEntry {
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly requestId?: string;
  readonly cause?: unknown;
}

export interface StoreCore {
  readonly db: MetadataDatabase;
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly contents: Contents;
  readonly blobs: BlobStore;
  readonly pins: BlobPins;
  readonly pool: BufferPool;
  readonly region: string;
  /** The account everything belongs to: the first credential's access key id. */
  readonly ownerId: string;
  /** Parts but the last must be at least this large. */
  readonly minPartBytes: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: (entry: StoreLogEntry) => void;
}

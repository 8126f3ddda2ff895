/** Objects: one row a key, pointing at a content. */
import type { ChecksumAlgorithm, StoredChecksum } from "../checksums/checksum.ts";
import { S3Error } from "../s3-error.ts";
import type { Contents } from "./contents.ts";
import type { MetadataDatabase, Transaction } from "./database.ts";

/** What a writer said about an object beside its bytes. */
export interface ObjectAttributes {
  /** System headers to answer with, by lower-case name: `content-type`, `cache-control`, … */
  readonly headers: Readonly<Record<string, string>>;
  /** User metadata by lower-case name without `x-amz-meta-`. */
  readonly user: Readonly<Record<string, string>>;
  readonly tags?: Readonly<Record<string, string>>;
}

/** {@link ObjectAttributes} and what the store found out while writing. */
interface StoredAttributes extends ObjectAttributes {
  readonly checksum?: StoredChecksum;
  /** Number of parts, of objects that were uploaded in parts. */
  readonly partCount?: number;
}

export interface StoredObject {
  readonly key: string;
  readonly content: number;
  /** Without quotes. */
  readonly etag: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
  readonly attributes: StoredAttributes;
}

/** What an upload was begun with. */
export interface UploadAttributes extends ObjectAttributes {
  readonly checksum?: {
    readonly algorithm: ChecksumAlgorithm;
    readonly type: "COMPOSITE" | "FULL_OBJECT";
  };
}

export interface ObjectRow {
  readonly key: Uint8Array;
  readonly content: number;
  readonly etag: string;
  readonly bytes: number;
  readonly modified: number;
  readonly attributes: string;
}

/** Makes an object of its row. */
export function objectFromRow(row: ObjectRow): StoredObject {
  return {
    key: Buffer.from(row.key).toString("utf8"),
    content: row.content,
    etag: row.etag,
    bytes: row.bytes,
    modified: row.modified,
    attributes: JSON.parse(row.attributes) as StoredAttributes,
  };
}

export class Objects {
  readonly #db: MetadataDatabase;
  readonly #contents: Contents;

  constructor(db: MetadataDatabase, contents: Contents) {
    this.#db = db;
    this.#contents = contents;
  }

  find(bucket: number, key: string): StoredObject | undefined {
    const row = this.#db
      .prepare(
        "SELECT key, content, etag, bytes, modified, attributes FROM objects WHERE bucket = ? AND key = ?",
      )
      .get(bucket, Buffer.from(key)) as ObjectRow | undefined;
    return row && objectFromRow(row);
  }

  /** @throws S3Error `NoSuchKey` */
  get(bucket: number, key: string): StoredObject {
    const found = this.find(bucket, key);
    if (!found) throw new S3Error("NoSuchKey", { details: { Key: key } });
    return found;
  }

  /** Writes an object, releasing the content of the one it replaces. */
  put(bucket: number, object: StoredObject, transaction: Transaction): void {
    const replaced = this.#db
      .prepare("SELECT content FROM objects WHERE bucket = ? AND key = ?")
      .get(bucket, Buffer.from(object.key)) as { content: number } | undefined;
    this.#db
      .prepare(
        "INSERT OR REPLACE INTO objects (bucket, key, content, etag, bytes, modified, attributes) VALUES (?, ?, ?, ?, ?, ?, ?)",
      )
      .run(
        bucket,
        Buffer.from(object.key),
        object.content,
        object.etag,
        object.bytes,
        object.modified,
        JSON.stringify(object.attributes),
      );
    if (replaced && replaced.content !== object.content) {
      this.#contents.release(replaced.content, transaction);
    }
  }

  /** Deletes an object; false when there was none. */
  delete(bucket: number, key: string, transaction: Transaction): boolean {
    const gone = this.#db
      .prepare("DELETE FROM objects WHERE bucket = ? AND key = ? RETURNING content")
      .get(bucket, Buffer.from(key)) as { content: number } | undefined;
    if (!gone) return false;
    this.#contents.release(gone.content, transaction);
    return true;
  }

  /**
   * Objects with a prefix in key order, read lazily.
   *
   * @param from first key wanted, as bytes; a key below the prefix means the prefix
   */
  *scan(bucket: number, prefix: Uint8Array, from: Uint8Array): Generator<ObjectRow> {
    const lower = Buffer.compare(from, prefix) < 0 ? prefix : from;
    const upper = successor(prefix);
    const columns = "SELECT key, content, etag, bytes, modified, attributes FROM objects";
    const rows = upper
      ? this.#db
          .prepare(`${columns} WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key`)
          .iterate(bucket, lower, upper)
      : this.#db
          .prepare(`${columns} WHERE bucket = ? AND key >= ? ORDER BY key`)
          .iterate(bucket, lower);
    for (const row of rows) yield row as unknown as ObjectRow;
  }
}

/** The least byte string above every string that starts with `prefix`; `undefined` when none is. */
export function successor(prefix: Uint8Array): Buffer | undefined {
  for (let at = prefix.length - 1; at >= 0; at--) {
    const byte = prefix[at]!;
    if (byte < 0xff) {
      const next = Buffer.from(prefix.subarray(0, at + 1));
      next[at] = byte + 1;
      return next;
    }
  }
  return undefined;
}

/** Unfinished multipart uploads, their parts, and a memory of the finished ones. */
import { S3Error } from "../s3-error.ts";
import type { Contents } from "./contents.ts";
import type { MetadataDatabase, Transaction } from "./database.ts";
import type { UploadAttributes } from "./objects.ts";

export interface Upload {
  /** Hexadecimal; sorts by time of initiation. */
  readonly id: string;
  readonly key: string;
  /** Milliseconds since 1970. */
  readonly initiated: number;
  readonly attributes: UploadAttributes;
}

export interface Part {
  readonly number: number;
  readonly content: number;
  /** Without quotes. */
  readonly etag: string;
  readonly bytes: number;
  readonly modified: number;
  /** Base64, in the upload's algorithm (or, when it has none, absent). */
  readonly checksum: string | undefined;
}

export interface UploadRow {
  readonly key: Uint8Array;
  readonly id: string;
  readonly initiated: number;
  readonly attributes: string;
}

interface PartRow extends Omit<Part, "checksum"> {
  readonly checksum: string | null;
}

/** Makes an upload of its row. */
export function uploadFromRow(row: UploadRow): Upload {
  return {
    id: row.id,
    key: Buffer.from(row.key).toString("utf8"),
    initiated: row.initiated,
    attributes: JSON.parse(row.attributes) as UploadAttributes,
  };
}

export class Uploads {
  readonly #db: MetadataDatabase;
  readonly #contents: Contents;

  constructor(db: MetadataDatabase, contents: Contents) {
    this.#db = db;
    this.#contents = contents;
  }

  create(bucket: number, upload: Upload): void {
    this.#db
      .prepare(
        "INSERT INTO uploads (bucket, key, id, initiated, attributes) VALUES (?, ?, ?, ?, ?)",
      )
      .run(
        bucket,
        Buffer.from(upload.key),
        upload.id,
        upload.initiated,
        JSON.stringify(upload.attributes),
      );
  }

  /** @throws S3Error `NoSuchUpload`, also when it was completed or aborted */
  get(bucket: number, key: string, id: string): Upload {
    const row = this.#db
      .prepare(
        "SELECT key, id, initiated, attributes FROM uploads WHERE bucket = ? AND key = ? AND id = ?",
      )
      .get(bucket, Buffer.from(key), id) as UploadRow | undefined;
    if (!row) throw new S3Error("NoSuchUpload", { details: { UploadId: id } });
    return uploadFromRow(row);
  }

  has(bucket: number, key: string, id: string): boolean {
    return (
      this.#db
        .prepare("SELECT 1 FROM uploads WHERE bucket = ? AND key = ? AND id = ?")
        .get(bucket, Buffer.from(key), id) !== undefined
    );
  }

  /** Forgets an upload and releases its parts' bytes. */
  delete(bucket: number, upload: Upload, transaction: Transaction): void {
    for (const part of this.parts(upload.id)) this.#contents.release(part.content, transaction);
    this.forget(bucket, upload);
  }

  /** Forgets an upload whose parts' contents have gone elsewhere. */
  forget(bucket: number, upload: Upload): void {
    this.#db.prepare("DELETE FROM parts WHERE upload = ?").run(upload.id);
    this.#db
      .prepare("DELETE FROM uploads WHERE bucket = ? AND key = ? AND id = ?")
      .run(bucket, Buffer.from(upload.key), upload.id);
  }

  /** Writes a part, releasing the one with its number. */
  putPart(upload: string, part: Part, transaction: Transaction): void {
    const replaced = this.#db
      .prepare("SELECT content FROM parts WHERE upload = ? AND number = ?")
      .get(upload, part.number) as { content: number } | undefined;
    if (replaced) this.#contents.release(replaced.content, transaction);
    this.#db
      .prepare(
        "INSERT OR REPLACE INTO parts (upload, number, content, etag, bytes, modified, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",
      )
      .run(
        upload,
        part.number,
        part.content,
        part.etag,
        part.bytes,
        part.modified,
        part.checksum ?? null,
      );
  }

  /** Parts by number, after `after`. */
  parts(upload: string, after = 0, limit = 10_000): Part[] {
    const rows = this.#db
      .prepare(
        "SELECT number, content, etag, bytes, modified, checksum FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
      )
      .all(upload, after, limit) as unknown as PartRow[];
    return rows.map((row) => ({
      number: row.number,
      content: row.content,
      etag: row.etag,
      bytes: row.bytes,
      modified: row.modified,
      checksum: row.checksum ?? undefined,
    }));
  }

  /**
   * Uploads with a prefix by key, then by time of initiation, read lazily.
   *
   * @param from first key wanted, as bytes
   */
  *scan(bucket: number, prefix: Uint8Array, from: Uint8Array): Generator<UploadRow> {
    const lower = Buffer.compare(from, prefix) < 0 ? prefix : from;
    const rows = this.#db
      .prepare(
        "SELECT key, id, initiated, attributes FROM uploads WHERE bucket = ? AND key >= ? ORDER BY key, id",
      )
      .iterate(bucket, lower);
    for (const raw of rows) {
      const row = raw as unknown as UploadRow;
      if (Buffer.compare(row.key.subarray(0, prefix.length), prefix) !== 0) return;
      yield row;
    }
  }

  /** Remembers a completed upload, so that a repeated completion can be answered. */
  recordCompletion(bucket: number, upload: Upload, etag: string, now: number): void {
    this.#db
      .prepare(
        "INSERT INTO completions (upload, bucket, key, etag, completed) VALUES (?, ?, ?, ?, ?)",
      )
      .run(upload.id, bucket, Buffer.from(upload.key), etag, now);
  }

  /** The ETag a completed upload gave its object. */
  findCompletion(bucket: number, key: string, id: string): string | undefined {
    const row = this.#db
      .prepare("SELECT etag FROM completions WHERE upload = ? AND bucket = ? AND key = ?")
      .get(id, bucket, Buffer.from(key)) as { etag: string } | undefined;
    return row?.etag;
  }

  /** Forgets completions older than a time. */
  deleteCompletionsBefore(time: number): void {
    this.#db.prepare("DELETE FROM completions WHERE completed < ?").run(time);
  }
}

/** Buckets and the settings a bucket carries (lifecycle rules, tags). */
import { S3Error } from "../s3-error.ts";
import type { MetadataDatabase } from "./database.ts";

export interface Bucket {
  readonly id: number;
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly created: number;
}

/** What can be stored beside a bucket; bodies are XML (`tagging`: JSON). */
export type BucketSetting = "lifecycle" | "tagging";

export class Buckets {
  readonly #db: MetadataDatabase;

  constructor(db: MetadataDatabase) {
    this.#db = db;
  }

  /** @throws S3Error `BucketAlreadyOwnedByYou` */
  create(name: string, now: number): void {
    const { changes } = this.#db
      .prepare("INSERT INTO buckets (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING")
      .run(name, now);
    if (changes === 0) {
      throw new S3Error("BucketAlreadyOwnedByYou", { details: { BucketName: name } });
    }
  }

  /** @throws S3Error `NoSuchBucket` */
  get(name: string): Bucket {
    const found = this.#db
      .prepare("SELECT id, name, created FROM buckets WHERE name = ?")
      .get(name) as Bucket | undefined;
    if (!found) throw new S3Error("NoSuchBucket", { details: { BucketName: name } });
    return found;
  }

  /** Buckets by name, those after `after` and with `prefix`. */
  list(options: { prefix?: string; after?: string; limit?: number } = {}): Bucket[] {
    const { prefix = "", after = "", limit = -1 } = options;
    return this.#db
      .prepare(
        "SELECT id, name, created FROM buckets WHERE name > ? AND substr(name, 1, ?) = ? ORDER BY name LIMIT ?",
      )
      .all(after, prefix.length, prefix, limit) as unknown as Bucket[];
  }

  /** @throws S3Error `BucketNotEmpty` while it holds an object; unfinished uploads do not count */
  delete(bucket: Bucket): void {
    if (this.#db.prepare("SELECT 1 FROM objects WHERE bucket = ? LIMIT 1").get(bucket.id)) {
      throw new S3Error("BucketNotEmpty", { details: { BucketName: bucket.name } });
    }
    this.#db.prepare("DELETE FROM bucket_settings WHERE bucket = ?").run(bucket.id);
    this.#db.prepare("DELETE FROM completions WHERE bucket = ?").run(bucket.id);
    this.#db.prepare("DELETE FROM buckets WHERE id = ?").run(bucket.id);
  }

  getSetting(bucket: Bucket, kind: BucketSetting): string | undefined {
    const row = this.#db
      .prepare("SELECT body FROM bucket_settings WHERE bucket = ? AND kind = ?")
      .get(bucket.id, kind) as { body: string } | undefined;
    return row?.body;
  }

  putSetting(bucket: Bucket, kind: BucketSetting, body: string): void {
    this.#db
      .prepare("INSERT OR REPLACE INTO bucket_settings (bucket, kind, body) VALUES (?, ?, ?)")
      .run(bucket.id, kind, body);
  }

  deleteSetting(bucket: Bucket, kind: BucketSetting): void {
    this.#db
      .prepare("DELETE FROM bucket_settings WHERE bucket = ? AND kind = ?")
      .run(bucket.id, kind);
  }
}

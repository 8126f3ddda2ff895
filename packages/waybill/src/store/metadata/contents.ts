/**
 * Contents: what an object or a part consists of, as ranges of blobs with reference counts. All
 * methods that write run inside a transaction; a blob nobody uses any more is handed to
 * `onUnused` after the commit.
 */
import type { MetadataDatabase, Transaction } from "./database.ts";

/** A range of one blob. `data` is set when the blob's bytes live in the metadata itself. */
export interface Segment {
  readonly blob: string;
  /** First byte within the blob. */
  readonly offset: number;
  readonly bytes: number;
  readonly data: Uint8Array | undefined;
}

/** Bytes just received: in a blob file already, or small enough for the row. */
export type NewBlob =
  | { readonly kind: "file"; readonly id: string; readonly bytes: number }
  | { readonly kind: "inline"; readonly id: string; readonly data: Uint8Array };

/** Where one part of a completed upload lies in its object. */
export interface ContentPart {
  readonly number: number;
  /** First byte within the object. */
  readonly start: number;
  readonly bytes: number;
  /** Base64, in the object's algorithm. */
  readonly checksum: string | undefined;
}

/** The content of every empty object: no row, no bytes. */
const EMPTY_CONTENT = 0;

interface SegmentRow {
  readonly start: number;
  readonly blob: string;
  readonly offset: number;
  readonly bytes: number;
  readonly data?: Uint8Array | null;
}

export class Contents {
  readonly #db: MetadataDatabase;
  readonly #onUnused: (blobs: readonly string[]) => void;

  constructor(db: MetadataDatabase, onUnused: (blobs: readonly string[]) => void) {
    this.#db = db;
    this.#onUnused = onUnused;
  }

  /** Records a new blob and a content that is all of it; returns the content's id. */
  createFromBlob(blob: NewBlob): number {
    const bytes = blob.kind === "file" ? blob.bytes : blob.data.length;
    if (bytes === 0) return EMPTY_CONTENT;
    this.#db
      .prepare("INSERT INTO blobs (id, bytes, refs, data) VALUES (?, ?, 0, ?)")
      .run(blob.id, bytes, blob.kind === "inline" ? blob.data : null);
    return this.#create(bytes, [{ start: 0, blob: blob.id, offset: 0, bytes }]);
  }

  /** A new content that shares the blobs of `content[start, start + bytes)`. */
  createFromRange(content: number, start: number, bytes: number): number {
    if (bytes === 0) return EMPTY_CONTENT;
    let at = 0;
    const segments = this.#rows(content, start, bytes).map((row) => {
      const segment = { start: at, blob: row.blob, offset: row.offset, bytes: row.bytes };
      at += row.bytes;
      return segment;
    });
    return this.#create(bytes, segments);
  }

  /** A new content that takes over the segments of others, in order; those are gone afterwards. */
  join(sources: readonly { readonly content: number; readonly bytes: number }[]): number {
    const total = sources.reduce((sum, source) => sum + source.bytes, 0);
    if (total === 0) return EMPTY_CONTENT;
    const joined = this.#insert(total);
    const move = this.#db.prepare(
      "UPDATE segments SET content = ?, start = start + ? WHERE content = ?",
    );
    const forget = this.#db.prepare("DELETE FROM contents WHERE id = ?");
    let start = 0;
    for (const source of sources) {
      move.run(joined, start, source.content);
      forget.run(source.content);
      start += source.bytes;
    }
    return joined;
  }

  /** Gives a content up: its blobs lose a reference, and those at zero are deleted. */
  release(content: number, transaction: Transaction): void {
    if (content === EMPTY_CONTENT) return;
    const drop = this.#db.prepare(
      "UPDATE blobs SET refs = refs - 1 WHERE id = ? RETURNING refs, data IS NULL AS file",
    );
    const forget = this.#db.prepare("DELETE FROM blobs WHERE id = ?");
    const unused: string[] = [];
    for (const { blob } of this.#rows(content, 0, Number.MAX_SAFE_INTEGER)) {
      const left = drop.get(blob) as { refs: number; file: number } | undefined;
      if (!left || left.refs > 0) continue;
      forget.run(blob);
      if (left.file) unused.push(blob);
    }
    for (const table of ["segments", "content_parts"]) {
      this.#db.prepare(`DELETE FROM ${table} WHERE content = ?`).run(content);
    }
    this.#db.prepare("DELETE FROM contents WHERE id = ?").run(content);
    if (unused.length > 0) transaction.afterCommit(() => this.#onUnused(unused));
  }

  /** The ranges of blobs that hold `content[start, start + bytes)`, in order. */
  segments(content: number, start: number, bytes: number): Segment[] {
    const data = this.#db.prepare("SELECT data FROM blobs WHERE id = ?");
    return this.#rows(content, start, bytes).map((row) => {
      const found = data.get(row.blob) as { data: Uint8Array | null } | undefined;
      return {
        blob: row.blob,
        offset: row.offset,
        bytes: row.bytes,
        data: found?.data ?? undefined,
      };
    });
  }

  recordParts(content: number, parts: readonly ContentPart[]): void {
    const insert = this.#db.prepare(
      "INSERT INTO content_parts (content, number, start, bytes, checksum) VALUES (?, ?, ?, ?, ?)",
    );
    for (const part of parts) {
      insert.run(content, part.number, part.start, part.bytes, part.checksum ?? null);
    }
  }

  /** Copies the record of parts, for an object copied with its parts' checksums. */
  copyParts(from: number, to: number): void {
    this.#db
      .prepare(
        "INSERT INTO content_parts SELECT ?, number, start, bytes, checksum FROM content_parts WHERE content = ?",
      )
      .run(to, from);
  }

  /** The parts a completed upload was made of, in order; none for other contents. */
  parts(content: number, afterNumber = 0, limit = 10_000): ContentPart[] {
    const rows = this.#db
      .prepare(
        "SELECT number, start, bytes, checksum FROM content_parts WHERE content = ? AND number > ? ORDER BY number LIMIT ?",
      )
      .all(content, afterNumber, limit) as unknown as (Omit<ContentPart, "checksum"> & {
      checksum: string | null;
    })[];
    return rows.map((row) => ({
      number: row.number,
      start: row.start,
      bytes: row.bytes,
      checksum: row.checksum ?? undefined,
    }));
  }

  /** True when a blob file is in use. */
  usesBlob(id: string): boolean {
    return this.#db.prepare("SELECT 1 FROM blobs WHERE id = ?").get(id) !== undefined;
  }

  #rows(content: number, start: number, bytes: number): SegmentRow[] {
    if (bytes === 0 || content === EMPTY_CONTENT) return [];
    const end = start + bytes;
    // The segment `start` lies in begins at or before it: seek there, then walk on.
    const rows = this.#db
      .prepare(
        `SELECT start, blob, offset, bytes FROM segments WHERE content = ?1 AND start < ?3 AND start >=
           (SELECT max(start) FROM segments WHERE content = ?1 AND start <= ?2) ORDER BY start`,
      )
      .all(content, start, end) as unknown as SegmentRow[];
    return rows.map((row) => {
      const from = Math.max(start, row.start);
      const to = Math.min(end, row.start + row.bytes);
      return {
        start: from - start,
        blob: row.blob,
        offset: row.offset + from - row.start,
        bytes: to - from,
      };
    });
  }

  #insert(bytes: number): number {
    const { lastInsertRowid } = this.#db
      .prepare("INSERT INTO contents (bytes) VALUES (?)")
      .run(bytes);
    return Number(lastInsertRowid);
  }

  #create(bytes: number, segments: readonly SegmentRow[]): number {
    const content = this.#insert(bytes);
    const insert = this.#db.prepare(
      "INSERT INTO segments (content, start, blob, offset, bytes) VALUES (?, ?, ?, ?, ?)",
    );
    const count = this.#db.prepare("UPDATE blobs SET refs = refs + 1 WHERE id = ?");
    for (const segment of segments) {
      insert.run(content, segment.start, segment.blob, segment.offset, segment.bytes);
      count.run(segment.blob);
    }
    return content;
  }
}

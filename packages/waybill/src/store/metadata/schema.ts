/**
 * Tables of the metadata file.
 *
 * ```
 * buckets ─┬─ objects ──╮
 *          └─ uploads ─ parts ─▶ contents ─▶ segments ─▶ blobs (a file, or bytes in the row)
 * ```
 *
 * A content is a sequence of segments, each a range of a blob. Blobs are counted by the segments
 * that use them, so completing an upload and copying an object move rows, never bytes. Keys are
 * BLOBs: SQLite compares those bytewise, which is S3's order.
 */
export const schema = `
  CREATE TABLE IF NOT EXISTS buckets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
  );
  CREATE TABLE IF NOT EXISTS bucket_settings (
    bucket INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (bucket, kind)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS objects (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    content INTEGER NOT NULL,
    etag TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS uploads (
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    id TEXT NOT NULL,
    initiated INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (bucket, key, id)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    content INTEGER NOT NULL,
    etag TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    checksum TEXT,
    PRIMARY KEY (upload, number)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS completions (
    upload TEXT PRIMARY KEY,
    bucket INTEGER NOT NULL,
    key BLOB NOT NULL,
    etag TEXT NOT NULL,
    completed INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bytes INTEGER NOT NULL
  );
  CREATE TABLE IF NOT EXISTS content_parts (
    content INTEGER NOT NULL,
    number INTEGER NOT NULL,
    start INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    checksum TEXT,
    PRIMARY KEY (content, number)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS segments (
    content INTEGER NOT NULL,
    start INTEGER NOT NULL,
    blob TEXT NOT NULL,
    offset INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (content, start)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS blobs (
    id TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    refs INTEGER NOT NULL,
    data BLOB
  );
  PRAGMA user_version = 1;
`;

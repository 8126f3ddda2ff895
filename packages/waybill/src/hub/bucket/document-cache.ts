// What this process last saw in the bucket, bounded by bytes, oldest use out first. Only a hint: every
// write that builds on it is conditional on its etag.
import type { DocumentSchema, Versioned } from "./documents.ts";

export type Remembered<T> = Versioned<T> & {
  /** When the store was asked or told. */
  readonly atMs: number;
};

type Entry = {
  readonly schema: unknown;
  readonly remembered: Remembered<unknown>;
  readonly bytes: number;
};

/** Encoded size of all remembered documents: some thousand jobs and sessions, a few registries. */
const MAX_BYTES = 32 * 1024 * 1024;
/** Per-entry overhead, so that many tiny documents are bounded too. */
const ENTRY_BYTES = 512;

export class DocumentCache {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  get<T>(schema: DocumentSchema<T>, key: string): Remembered<T> | undefined {
    const entry = this.#entries.get(key);
    // A key has one schema for life, so an entry of the same schema holds that schema's type.
    if (entry === undefined || entry.schema !== schema) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.remembered as Remembered<T>;
  }

  set<T>(schema: DocumentSchema<T>, key: string, remembered: Remembered<T>, size: number): void {
    this.forget(key);
    const bytes = size + ENTRY_BYTES;
    this.#entries.set(key, { schema, remembered, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= MAX_BYTES) break;
      this.forget(oldest);
    }
  }

  forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

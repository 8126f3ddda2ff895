// What this process last saw in the bucket, bounded by bytes, oldest use out first. Only a hint: every
// write that builds on it is conditional on its etag.
import type { DocumentType } from "./document-kind.ts";

/** A document and the etag it was read or written with. Documents are values: never mutate one. */
export type Versioned<T> = { readonly doc: T; readonly etag: string };

export type Remembered<T> = Versioned<T> & {
  /** When the store was asked or told. */
  readonly atMs: number;
};

type Entry = {
  readonly type: unknown;
  readonly remembered: Remembered<unknown>;
  readonly bytes: number;
};

/** Encoded size of all remembered documents: some thousand jobs and sessions, four registries of 10,000 models. */
const MAX_BYTES = 64 * 1024 * 1024;
/** Per-entry overhead, so that many tiny documents are bounded too. */
const ENTRY_BYTES = 512;

export class DocumentCache {
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  get<T>(type: DocumentType<T>, key: string): Remembered<T> | undefined {
    const entry = this.#entries.get(key);
    // A key has one type for life, so an entry of the same schema or kind holds that one's documents.
    if (entry === undefined || entry.type !== type) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.remembered as Remembered<T>;
  }

  set<T>(type: DocumentType<T>, key: string, remembered: Remembered<T>, size: number): void {
    this.forget(key);
    const bytes = size + ENTRY_BYTES;
    this.#entries.set(key, { type, remembered, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= MAX_BYTES) break;
      this.forget(oldest);
    }
  }

  /** Keeps a document only to be compared with what is there: no age is young enough for it. */
  distrust(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    const remembered = { ...entry.remembered, atMs: Number.NEGATIVE_INFINITY };
    this.#entries.set(key, { ...entry, remembered });
  }

  forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

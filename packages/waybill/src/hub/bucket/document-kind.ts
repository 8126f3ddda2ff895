// Documents that are more than JSON of a schema: large ones that are read by what changed in them, and ones beside
// which something is stored with every write.
import type * as v from "valibot";
import type { Bucket, Fetched, Head, Metadata } from "./bucket.ts";

/** Validates what is stored; input and output types may differ by defaults only. */
export type DocumentSchema<T> = v.GenericSchema<unknown, T>;

export type EncodedDocument = {
  readonly body: Uint8Array;
  readonly metadata: Metadata;
  /** Names this write; no other write has the same. */
  readonly writeId: string;
};

/** How documents of one kind are read and written. Methods of I/O throw `storage_failed`. */
export interface DocumentKind<T> {
  /** The document an object holds; throws when it holds none of this kind. */
  decode(key: string, object: Fetched): Promise<T>;
  encode(doc: T): EncodedDocument;
  /** Called when the store has no such object, before that is believed: throws when there should be one. */
  missing(bucket: Bucket, key: string): Promise<void>;
  /** Stores what must be there before `next` is written over `before`, which may fail nevertheless. */
  prepare(bucket: Bucket, key: string, before: T | undefined, next: T): Promise<void>;
  /** Told that the write of `next` was refused and that what is there cannot be used, with the reason: takes back what `prepare` has stored. */
  refused(bucket: Bucket, key: string, next: T, reason: unknown): Promise<void>;
  /** The document that `head` tells of, made of one that was known; `undefined` when it has to be read whole. */
  advance(bucket: Bucket, key: string, known: T, head: Head): Promise<T | undefined>;
}

/** A schema for small documents, a kind for others. Always the same object for the same documents. */
export type DocumentType<T> = DocumentSchema<T> | DocumentKind<T>;

export function isKind<T>(type: DocumentType<T>): type is DocumentKind<T> {
  return "decode" in type;
}

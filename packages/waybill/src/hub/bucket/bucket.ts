// The hub's only memory: one bucket behind the S3 API. Conditional writes are what keeps several hubs,
// and one hub before and after a crash, from losing each other's updates (I4).

/** What a stored object is known by. */
export type Stored = { readonly etag: string; readonly size: number };

/** Small facts kept with an object, by lower-case name; ASCII. */
export type Metadata = Readonly<Record<string, string>>;

/** What is told of an object without its bytes. */
export type Head = Stored & {
  /** Base64 CRC-32 when the store has one; composite ones end in `-N`. */
  readonly crc32: string | undefined;
  readonly writeId?: string;
  readonly metadata: Metadata;
};

export type Fetched = Stored & {
  readonly body: Uint8Array;
  readonly writeId?: string;
  readonly metadata: Metadata;
};

export type Listed = { readonly key: string; readonly size: number; readonly modifiedMs: number };

export type PutCondition =
  /** Fails with `precondition_failed` when the key exists. */
  | { readonly ifAbsent: true }
  /** Fails with `precondition_failed` when the key's etag is another, or the key is gone. */
  | { readonly ifMatch: string };

export type PutOptions = {
  readonly condition?: PutCondition;
  readonly contentType?: string;
  /** Kept with the object: tells a writer whose answer was lost that it was its own write that won. */
  readonly writeId?: string;
  readonly metadata?: Metadata;
  /** Given up (`storage_failed`) when the store has not answered by then, so that it does not land much later. */
  readonly withinMs?: number;
};

export type CopyOptions = {
  /** Whether the store is asked for a CRC-32. */
  readonly checksum?: boolean;
  /** Fails with `precondition_failed` when the key exists; stores that do not know conditional copies write over it. */
  readonly ifAbsent?: boolean;
  /** Fails with `precondition_failed` when the source has another etag. */
  readonly ifSourceMatch?: string;
};

/** What a store says of a copy it has made. */
export type Copied = {
  /** Base64 CRC-32 of the copied bytes; stores that give none leave it out. */
  readonly crc32: string | undefined;
};

/** One bucket. Every method throws `storage_failed` (retryable) when the store cannot be reached or misbehaves. */
export interface Bucket {
  readonly name: string;
  get(key: string): Promise<Fetched | undefined>;
  head(key: string): Promise<Head | undefined>;
  put(key: string, body: Uint8Array | string, options?: PutOptions): Promise<Stored>;
  /** Copies an object of `source` (at most 5 GiB) with its metadata here, within the store; `undefined` when it is not there. */
  copyFrom(
    source: Bucket,
    sourceKey: string,
    key: string,
    options?: CopyOptions,
  ): Promise<Copied | undefined>;
  /** Deleting what is not there is no error. */
  delete(keys: readonly string[]): Promise<void>;
  /** Keys below a prefix in UTF-8 order. */
  list(prefix: string, options?: { startAfter?: string }): AsyncIterable<Listed>;
  /** Names of the "folders" directly below a prefix, which ends in `/`. */
  listFolders(prefix: string): AsyncIterable<string>;
}

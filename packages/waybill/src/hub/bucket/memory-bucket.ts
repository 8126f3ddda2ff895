// A bucket in memory with the semantics of S3's conditional writes: what unit tests of the hub stand on.
// It passes the same conformance suite as the bucket behind the S3 API.
import { WaybillError } from "@waybill/sdk/protocol";
import { crc32 } from "node:zlib";
import type {
  Bucket,
  Copied,
  CopyOptions,
  Fetched,
  Head,
  Listed,
  Metadata,
  PutCondition,
  PutOptions,
  Stored,
} from "./bucket.ts";

type MemoryObject = Stored & {
  readonly body: Uint8Array;
  readonly modifiedMs: number;
  readonly crc32: string;
  readonly writeId?: string;
  readonly metadata: Metadata;
};

export type BucketOperation = "get" | "head" | "put" | "delete" | "list";

export type MemoryBucketInit = {
  readonly name?: string;
  readonly now?: () => number;
  /** Awaited before each operation: tests delay, count or refuse (by throwing) with it. */
  readonly before?: (operation: BucketOperation, key: string) => void | Promise<void>;
};

export class MemoryBucket implements Bucket {
  readonly name: string;
  readonly #objects = new Map<string, MemoryObject>();
  readonly #now: () => number;
  readonly #before: (operation: BucketOperation, key: string) => void | Promise<void>;
  #versions = 0;

  constructor(init: MemoryBucketInit = {}) {
    this.name = init.name ?? "memory";
    this.#now = init.now ?? Date.now;
    this.#before = init.before ?? (() => {});
  }

  async get(key: string): Promise<Fetched | undefined> {
    await this.#before("get", key);
    const object = this.#objects.get(key);
    if (object === undefined) return undefined;
    const { crc32: _, modifiedMs: __, ...fetched } = object;
    return { ...fetched, body: object.body.slice() };
  }

  async head(key: string): Promise<Head | undefined> {
    await this.#before("head", key);
    const object = this.#objects.get(key);
    if (object === undefined) return undefined;
    const { body: _, modifiedMs: __, ...head } = object;
    return head;
  }

  /** Keys now, without asking `before`. */
  get keys(): string[] {
    return this.#keys("");
  }

  /** Bytes of an object, without asking `before`: what somebody else than the hub sees. */
  peek(key: string): Uint8Array | undefined {
    return this.#objects.get(key)?.body.slice();
  }

  async put(key: string, body: Uint8Array | string, options: PutOptions = {}): Promise<Stored> {
    const { withinMs = Number.POSITIVE_INFINITY } = options;
    const untilMs = this.#now() + withinMs;
    await this.#before("put", key);
    if (this.#now() > untilMs) {
      throw new WaybillError("storage_failed", `writing ${key} took longer than ${withinMs} ms`);
    }
    return this.store(key, body, options);
  }

  /** As `put`, without asking `before`. */
  store(key: string, body: Uint8Array | string, options: PutOptions = {}): Stored {
    const existing = this.#objects.get(key);
    const { condition } = options;
    if (condition !== undefined && !holds(condition, existing)) {
      throw new WaybillError(
        "precondition_failed",
        `${key} is not in the state it was expected in`,
      );
    }
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body.slice();
    const checksum = Buffer.alloc(4);
    checksum.writeUInt32BE(crc32(bytes));
    this.#versions += 1;
    const object = {
      etag: `"v${this.#versions}"`,
      size: bytes.length,
      body: bytes,
      modifiedMs: this.#now(),
      crc32: checksum.toString("base64"),
      ...(options.writeId === undefined ? {} : { writeId: options.writeId }),
      metadata: options.metadata ?? {},
    };
    this.#objects.set(key, object);
    return { etag: object.etag, size: object.size };
  }

  async copyFrom(
    source: Bucket,
    sourceKey: string,
    key: string,
    { ifAbsent, ifSourceMatch }: CopyOptions = {},
  ): Promise<Copied | undefined> {
    const object = await source.get(sourceKey);
    if (object === undefined) return undefined;
    if (ifSourceMatch !== undefined && object.etag !== ifSourceMatch) {
      throw new WaybillError("precondition_failed", `${sourceKey} is another object now`);
    }
    const { body, writeId, metadata } = object;
    await this.put(key, body, {
      ...(ifAbsent === true ? { condition: { ifAbsent } } : {}),
      ...(writeId === undefined ? {} : { writeId }),
      metadata,
    });
    return { crc32: this.#objects.get(key)?.crc32 };
  }

  async delete(keys: readonly string[]): Promise<void> {
    await this.#before("delete", keys[0] ?? "");
    for (const key of keys) this.#objects.delete(key);
  }

  async *list(prefix: string, options: { startAfter?: string } = {}): AsyncIterable<Listed> {
    await this.#before("list", prefix);
    for (const key of this.#keys(prefix)) {
      if (options.startAfter !== undefined && compareUtf8(key, options.startAfter) <= 0) continue;
      const object = this.#objects.get(key);
      if (object !== undefined) yield { key, size: object.size, modifiedMs: object.modifiedMs };
    }
  }

  async *listFolders(prefix: string): AsyncIterable<string> {
    await this.#before("list", prefix);
    const folders = new Set<string>();
    for (const key of this.#keys(prefix)) {
      const rest = key.slice(prefix.length);
      const slash = rest.indexOf("/");
      if (slash >= 0) folders.add(rest.slice(0, slash));
    }
    yield* folders;
  }

  #keys(prefix: string): string[] {
    return [...this.#objects.keys()].filter((key) => key.startsWith(prefix)).sort(compareUtf8);
  }
}

function holds(condition: PutCondition, existing: Stored | undefined): boolean {
  return "ifAbsent" in condition ? existing === undefined : existing?.etag === condition.ifMatch;
}

/** S3 lists in the order of UTF-8 bytes, which differs from UTF-16 order above the surrogates. */
function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

// A whole object store in memory for unit tests: two buckets, their multipart uploads, and `put`, which does
// what the store does with a client's presigned PUT.
import { crc32 } from "node:zlib";
import { MemoryBucket } from "../bucket/memory-bucket.ts";
import { MemoryMultipartUploads } from "../bucket/memory-multipart.ts";
import type { Clock } from "../log.ts";
import { Presigner } from "./presign.ts";
import type { Storage } from "./storage.ts";

type MemoryPlace = { readonly bucket: MemoryBucket; readonly multipart: MemoryMultipartUploads };

export type MemoryStorageInit = {
  readonly clock?: Clock;
  readonly equalParts?: boolean;
  /** Awaited before each of the hub's requests; throws to refuse it. */
  readonly before?: (operation: string, key: string) => void | Promise<void>;
};

export class MemoryStorage implements Storage {
  readonly uploads: MemoryPlace;
  readonly rooms: MemoryPlace;
  readonly presigner: Presigner;
  readonly #equalParts: boolean;
  #before: (operation: string, key: string) => void | Promise<void>;

  constructor(init: MemoryStorageInit = {}) {
    const clock = init.clock ?? Date.now;
    this.#equalParts = init.equalParts ?? false;
    this.#before = init.before ?? (() => {});
    const before = (operation: string, key: string) => this.#before(operation, key);
    const read = (bucket: string, key: string) => this.#place(bucket).bucket.peek(key);
    const place = (name: string): MemoryPlace => {
      const bucket = new MemoryBucket({ name, now: clock, before });
      return { bucket, multipart: new MemoryMultipartUploads(bucket, before, read) };
    };
    this.uploads = place("uploads");
    this.rooms = place("rooms");
    this.presigner = new Presigner({
      endpoint: "http://store.test",
      region: "us-east-1",
      credentials: async () => ({ accessKeyId: "id", secretAccessKey: "secret" }),
      clock,
    });
  }

  async equalParts(): Promise<boolean> {
    return this.#equalParts;
  }

  /** Replaces the hook. */
  interceptBy(before: (operation: string, key: string) => void | Promise<void>): void {
    this.#before = before;
  }

  /** A client's PUT with signed headers; throws when the body is not the one that was signed for, or a condition fails. */
  put(url: string, headers: Readonly<Record<string, string>>, body: Uint8Array): void {
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    if (headers["x-amz-checksum-crc32"] !== sum.toString("base64")) throw new Error("BadDigest");
    const { bucket, key, query } = parse(url);
    const place = this.#place(bucket);
    const uploadId = query.get("uploadId");
    if (uploadId !== null) {
      place.multipart.putPart(uploadId, Number(query.get("partNumber")), body);
      return;
    }
    const { "if-none-match": absent, "if-match": ifMatch } = headers;
    if (absent !== undefined) place.bucket.store(key, body, { condition: { ifAbsent: true } });
    else if (ifMatch !== undefined) place.bucket.store(key, body, { condition: { ifMatch } });
    else place.bucket.store(key, body);
  }

  /** A client's GET. */
  read(url: string): Uint8Array | undefined {
    const { bucket, key } = parse(url);
    return this.#place(bucket).bucket.peek(key);
  }

  #place(name: string): MemoryPlace {
    return name === this.uploads.bucket.name ? this.uploads : this.rooms;
  }
}

function parse(url: string): { bucket: string; key: string; query: URLSearchParams } {
  const { pathname, searchParams } = new URL(url);
  const [bucket = "", ...key] = pathname.slice(1).split("/").map(decodeURIComponent);
  return { bucket, key: key.join("/"), query: searchParams };
}

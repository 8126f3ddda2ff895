// Multipart uploads in memory beside a MemoryBucket, for unit tests. `putPart` stands for what a client
// does with a presigned URL.
import { crc32 } from "node:zlib";
import type { MemoryBucket } from "./memory-bucket.ts";
import type { Copied } from "./bucket.ts";
import type { CopySource, MultipartUploads, OpenMultipart, StoredPart } from "./multipart.ts";

type MemoryUpload = { readonly key: string; readonly parts: Map<number, Uint8Array> };

export class MemoryMultipartUploads implements MultipartUploads {
  readonly #bucket: MemoryBucket;
  readonly #before: (operation: string, key: string) => void | Promise<void>;
  readonly #read: (bucket: string, key: string) => Uint8Array | undefined;
  readonly #uploads = new Map<string, MemoryUpload>();
  #count = 0;

  /**
   * `before` is awaited before each operation, so that tests can refuse it by throwing; `read` gives the objects of
   * other buckets, for copies.
   */
  constructor(
    bucket: MemoryBucket,
    before: (operation: string, key: string) => void | Promise<void> = () => {},
    read: (bucket: string, key: string) => Uint8Array | undefined = (_, key) => bucket.peek(key),
  ) {
    this.#bucket = bucket;
    this.#before = before;
    this.#read = read;
  }

  /** Ids of the open uploads. */
  get open(): OpenMultipart[] {
    return [...this.#uploads].map(([uploadId, { key }]) => ({ key, uploadId }));
  }

  putPart(uploadId: string, part: number, body: Uint8Array): void {
    const upload = this.#uploads.get(uploadId);
    if (upload === undefined) throw new Error(`NoSuchUpload ${uploadId}`);
    upload.parts.set(part, body.slice());
  }

  async create(key: string): Promise<string> {
    await this.#before("create", key);
    this.#count += 1;
    const uploadId = `m${this.#count}`;
    this.#uploads.set(uploadId, { key, parts: new Map() });
    return uploadId;
  }

  async listParts(key: string, uploadId: string): Promise<StoredPart[] | undefined> {
    await this.#before("listParts", key);
    const upload = this.#uploads.get(uploadId);
    if (upload?.key !== key) return undefined;
    return [...upload.parts]
      .map(([part, body]) => ({ part, size: body.length, etag: crcOf(body), crc32: crcOf(body) }))
      .sort((a, b) => a.part - b.part);
  }

  async copyPart(
    key: string,
    uploadId: string,
    part: number,
    { bucket, key: sourceKey, start, size }: CopySource,
  ): Promise<Copied | "missing" | "gone"> {
    await this.#before("copyPart", key);
    const upload = this.#uploads.get(uploadId);
    if (upload?.key !== key) return "gone";
    const whole = this.#read(bucket, sourceKey);
    if (whole === undefined) return "missing";
    const body = whole.subarray(start, start + size);
    upload.parts.set(part, body);
    return { crc32: crcOf(body) };
  }

  async complete(
    key: string,
    uploadId: string,
    parts: readonly StoredPart[],
  ): Promise<"completed" | "gone"> {
    await this.#before("complete", key);
    const upload = this.#uploads.get(uploadId);
    if (upload?.key !== key) return "gone";
    const bodies = parts.map((part) => upload.parts.get(part.part) ?? new Uint8Array());
    await this.#bucket.put(key, Buffer.concat(bodies));
    this.#uploads.delete(uploadId);
    return "completed";
  }

  async abort(key: string, uploadId: string): Promise<void> {
    await this.#before("abort", key);
    this.#uploads.delete(uploadId);
  }

  async *list(prefix: string): AsyncIterable<OpenMultipart> {
    await this.#before("listUploads", prefix);
    yield* this.open.filter(({ key }) => key.startsWith(prefix));
  }
}

function crcOf(body: Uint8Array): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(body));
  return bytes.toString("base64");
}

// The object store by the worker's own credentials: how a model gets there while no hub signs (hub-api.md, "Models stored
// without a hub"). The few S3 requests of an upload, and what a store's refusal means in our words.
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { WaybillError, isAbort } from "@waybill/sdk/protocol";

export type OwnStoreInit = {
  /** AWS's own when absent. */
  readonly endpoint?: string | undefined;
  readonly region: string;
  /** The rooms bucket. */
  readonly bucket: string;
};

export type OwnPart = {
  readonly part: number;
  readonly size: number;
  readonly etag: string;
  readonly crc32: string | undefined;
};

export type OwnHead = {
  readonly size: number;
  readonly etag: string;
  readonly crc32: string | undefined;
};

type Options = { readonly signal: AbortSignal };

/** Every method throws a retryable `storage_failed` where trying again may help. */
export class OwnStore {
  readonly bucket: string;
  readonly #client: S3Client;

  constructor({ endpoint, region, bucket }: OwnStoreInit) {
    this.bucket = bucket;
    // Credentials: the AWS environment and profile of this process.
    this.#client = new S3Client({
      region,
      ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
      // Stores other than AWS refuse the trailing checksums the SDK adds by default.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      maxAttempts: 2,
    });
  }

  close(): void {
    this.#client.destroy();
  }

  /** Sizes of the objects below a prefix, by what follows it. */
  async sizes(prefix: string, options: Options): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    let token: string | undefined;
    do {
      const page = await this.#send(`listing ${prefix}`, options, (send) =>
        this.#client.send(
          new ListObjectsV2Command({
            Bucket: this.bucket,
            Prefix: prefix,
            ContinuationToken: token,
          }),
          send,
        ),
      );
      for (const { Key, Size } of page.Contents ?? []) {
        if (Key !== undefined) sizes.set(Key.slice(prefix.length), Size ?? 0);
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    return sizes;
  }

  async head(key: string, options: Options): Promise<OwnHead | undefined> {
    try {
      const { ContentLength, ETag, ChecksumCRC32 } = await this.#send(
        `looking at ${key}`,
        options,
        (send) =>
          this.#client.send(
            new HeadObjectCommand({ Bucket: this.bucket, Key: key, ChecksumMode: "ENABLED" }),
            send,
          ),
      );
      return { size: ContentLength ?? 0, etag: ETag ?? "", crc32: ChecksumCRC32 };
    } catch (error) {
      if (error instanceof WaybillError && error.code === "not_found") return undefined;
      throw error;
    }
  }

  async text(key: string, options: Options): Promise<string> {
    const { Body } = await this.#send(`reading ${key}`, options, (send) =>
      this.#client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key }), send),
    );
    return (await Body?.transformToString()) ?? "";
  }

  /** Open multipart uploads below a prefix: the newest of each key. */
  async openUploads(prefix: string, options: Options): Promise<Map<string, string>> {
    const { Uploads } = await this.#send(`listing uploads of ${prefix}`, options, (send) =>
      this.#client.send(
        new ListMultipartUploadsCommand({ Bucket: this.bucket, Prefix: prefix }),
        send,
      ),
    );
    const open = new Map<string, string>();
    for (const { Key, UploadId } of Uploads ?? []) {
      if (Key !== undefined && UploadId !== undefined) open.set(Key.slice(prefix.length), UploadId);
    }
    return open;
  }

  /** The store keeps the whole object's CRC-32 where it can, whatever the parts were. */
  async createUpload(key: string, options: Options): Promise<string> {
    const open = (ChecksumType: "FULL_OBJECT" | "COMPOSITE") =>
      this.#send(`beginning ${key}`, options, (send) =>
        this.#client.send(
          new CreateMultipartUploadCommand({
            Bucket: this.bucket,
            Key: key,
            ChecksumAlgorithm: "CRC32",
            ChecksumType,
          }),
          send,
        ),
      );
    const { UploadId } = await open("FULL_OBJECT").catch((error: unknown) => {
      if (error instanceof WaybillError && error.code === "invalid_request")
        return open("COMPOSITE");
      throw error;
    });
    if (UploadId === undefined) throw new WaybillError("storage_failed", `no upload id for ${key}`);
    return UploadId;
  }

  async listParts(key: string, uploadId: string, options: Options): Promise<OwnPart[]> {
    const parts: OwnPart[] = [];
    let marker: string | undefined;
    do {
      const page = await this.#send(`listing the parts of ${key}`, options, (send) =>
        this.#client.send(
          new ListPartsCommand({
            Bucket: this.bucket,
            Key: key,
            UploadId: uploadId,
            PartNumberMarker: marker,
          }),
          send,
        ),
      );
      for (const { PartNumber, Size, ETag, ChecksumCRC32 } of page.Parts ?? []) {
        if (PartNumber === undefined || ETag === undefined) continue;
        parts.push({ part: PartNumber, size: Size ?? 0, etag: ETag, crc32: ChecksumCRC32 });
      }
      marker = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
    } while (marker !== undefined);
    return parts;
  }

  async putPart(
    { key, uploadId, part, crc32 }: { key: string; uploadId: string; part: number; crc32: string },
    body: Uint8Array,
    options: Options,
  ): Promise<void> {
    await this.#send(`part ${part} of ${key}`, options, (send) =>
      this.#client.send(
        new UploadPartCommand({
          Bucket: this.bucket,
          Key: key,
          UploadId: uploadId,
          PartNumber: part,
          Body: body,
          ChecksumCRC32: crc32,
        }),
        send,
      ),
    );
  }

  /** `ifAbsent`: throws `precondition_failed` where the key exists. */
  async put(
    { key, crc32, ifAbsent = false }: { key: string; crc32: string; ifAbsent?: boolean },
    body: Uint8Array,
    options: Options,
  ): Promise<void> {
    await this.#send(`object ${key}`, options, (send) =>
      this.#client.send(
        new PutObjectCommand({
          Bucket: this.bucket,
          Key: key,
          Body: body,
          ChecksumCRC32: crc32,
          ...(ifAbsent ? { IfNoneMatch: "*" } : {}),
        }),
        send,
      ),
    );
  }

  async join(
    key: string,
    uploadId: string,
    parts: readonly OwnPart[],
    options: Options,
  ): Promise<void> {
    await this.#send(`joining ${key}`, options, (send) =>
      this.#client.send(
        new CompleteMultipartUploadCommand({
          Bucket: this.bucket,
          Key: key,
          UploadId: uploadId,
          MultipartUpload: {
            Parts: parts.map(({ part, etag, crc32 }) => ({
              PartNumber: part,
              ETag: etag,
              ...(crc32 === undefined ? {} : { ChecksumCRC32: crc32 }),
            })),
          },
        }),
        send,
      ),
    );
  }

  async remove(prefix: string, options: Options): Promise<void> {
    const names = [...(await this.sizes(prefix, options)).keys()];
    // S3's most for one request.
    for (let first = 0; first < names.length; first += 1000) {
      const Objects = names.slice(first, first + 1000).map((name) => ({ Key: prefix + name }));
      await this.#send(`removing ${prefix}`, options, (send) =>
        this.#client.send(
          new DeleteObjectsCommand({ Bucket: this.bucket, Delete: { Objects } }),
          send,
        ),
      );
    }
  }

  async #send<T>(
    what: string,
    { signal }: Options,
    send: (options: { abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    try {
      return await send({ abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      throw isAbort(error) ? error : inOurWords(error, `${this.bucket}: ${what}`);
    }
  }
}

function inOurWords(cause: unknown, what: string): WaybillError {
  const facts = Object(cause) as { $metadata?: { httpStatusCode?: number }; name?: string };
  const status = facts.$metadata?.httpStatusCode;
  const why = `${what} failed: ${facts.name ?? "error"}${status === undefined ? "" : ` (${status})`}`;
  if (status === 404) return new WaybillError("not_found", why, { cause });
  if (status === 412 || status === 409)
    return new WaybillError("precondition_failed", why, { cause });
  if (status === 401 || status === 403 || facts.name === "CredentialsProviderError") {
    const hint = "give the worker's own process credentials for the rooms bucket";
    return new WaybillError("forbidden", why, { cause, hint });
  }
  if (status === 400 || status === 501) return new WaybillError("invalid_request", why, { cause });
  if (status === 507) return new WaybillError("storage_full", why, { cause });
  return new WaybillError("storage_failed", why, { cause });
}

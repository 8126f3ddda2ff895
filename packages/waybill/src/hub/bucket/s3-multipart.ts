// Multipart uploads behind the S3 API.
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { WaybillError } from "@waybill/sdk/protocol";
import type { Copied } from "./bucket.ts";
import type { CopySource, MultipartUploads, OpenMultipart, StoredPart } from "./multipart.ts";
import { COPY_IDLE_MS, copySourceHeader, readCopied } from "./s3-copy.ts";
import { assertDone, isMissing, s3ErrorCode, storageError } from "./s3-error.ts";
import type { S3Http } from "./s3-http.ts";

/** Errors that say the parts named are not the parts stored. */
const WRONG_PARTS = new Set(["InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest"]);

/** What stores say to a checksum type they do not know. */
const UNKNOWN_TYPE = new Set(["InvalidRequest", "InvalidArgument", "NotImplemented"]);

export class S3MultipartUploads implements MultipartUploads {
  readonly #client: S3Client;
  readonly #http: S3Http;
  readonly #bucket: string;
  /** Until the store has refused a checksum of the whole object. */
  #keepsWholeSums = true;

  constructor(client: S3Client, http: S3Http, bucket: string) {
    this.#client = client;
    this.#http = http;
    this.#bucket = bucket;
  }

  async create(key: string): Promise<string> {
    const open = (type: "FULL_OBJECT" | "COMPOSITE") =>
      this.#client.send(
        new CreateMultipartUploadCommand({
          Bucket: this.#bucket,
          Key: key,
          ChecksumAlgorithm: "CRC32",
          ChecksumType: type,
        }),
      );
    try {
      // The joined object's own CRC-32, whatever its parts were; composites tell only who has the same parts.
      const answer = await open(this.#keepsWholeSums ? "FULL_OBJECT" : "COMPOSITE").catch(
        async (error: unknown) => {
          if (!this.#keepsWholeSums || !UNKNOWN_TYPE.has(s3ErrorCode(error))) throw error;
          const composite = await open("COMPOSITE");
          this.#keepsWholeSums = false;
          return composite;
        },
      );
      if (answer.UploadId !== undefined) return answer.UploadId;
    } catch (error) {
      throw storageError(error, `opening a multipart upload of ${this.#bucket}/${key}`);
    }
    throw new WaybillError("storage_failed", `the object store gave no upload id for ${key}`);
  }

  async listParts(key: string, uploadId: string): Promise<StoredPart[] | undefined> {
    const parts: StoredPart[] = [];
    let marker: string | undefined;
    try {
      do {
        const page = await this.#client.send(
          new ListPartsCommand({
            Bucket: this.#bucket,
            Key: key,
            UploadId: uploadId,
            ...(marker === undefined ? {} : { PartNumberMarker: marker }),
          }),
        );
        for (const part of page.Parts ?? []) {
          if (part.PartNumber === undefined || part.ETag === undefined) continue;
          parts.push({
            part: part.PartNumber,
            size: part.Size ?? 0,
            etag: part.ETag,
            crc32: part.ChecksumCRC32,
          });
        }
        marker = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
      } while (marker !== undefined);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageError(error, `listing the parts of ${this.#bucket}/${key}`);
    }
    return parts;
  }

  async copyPart(
    key: string,
    uploadId: string,
    part: number,
    { bucket, key: sourceKey, start, size, isWhole }: CopySource,
  ): Promise<Copied | "missing" | "gone"> {
    const what = `copying a part of ${bucket}/${sourceKey} to ${this.#bucket}/${key}`;
    const answer = await this.#http.send(
      {
        method: "PUT",
        bucket: this.#bucket,
        key,
        query: { partNumber: String(part), uploadId },
        headers: {
          ...copySourceHeader(bucket, sourceKey),
          ...(isWhole === true
            ? {}
            : { "x-amz-copy-source-range": `bytes=${start}-${start + size - 1}` }),
        },
        idleMs: COPY_IDLE_MS,
      },
      what,
    );
    if (answer.errorCode === "NoSuchUpload") return "gone";
    if (answer.status === 404 && answer.errorCode !== "NoSuchBucket") return "missing";
    assertDone(answer, what);
    return readCopied(answer, what);
  }

  async complete(
    key: string,
    uploadId: string,
    parts: readonly StoredPart[],
  ): Promise<"completed" | "gone"> {
    try {
      await this.#client.send(
        new CompleteMultipartUploadCommand({
          Bucket: this.#bucket,
          Key: key,
          UploadId: uploadId,
          MultipartUpload: {
            Parts: parts.map((part) => ({
              PartNumber: part.part,
              ETag: part.etag,
              ...(part.crc32 === undefined ? {} : { ChecksumCRC32: part.crc32 }),
            })),
          },
        }),
      );
      return "completed";
    } catch (error) {
      if (isMissing(error)) return "gone";
      if (WRONG_PARTS.has(s3ErrorCode(error))) {
        throw new WaybillError(
          "conflict",
          `the parts of ${key} were changed while they were being joined (${s3ErrorCode(error)})`,
          { cause: error, hint: "push again: what is stored already is not sent again" },
        );
      }
      throw storageError(error, `joining the parts of ${this.#bucket}/${key}`);
    }
  }

  async abort(key: string, uploadId: string): Promise<void> {
    try {
      await this.#client.send(
        new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key: key, UploadId: uploadId }),
      );
    } catch (error) {
      if (!isMissing(error)) throw storageError(error, `dropping the parts of ${key}`);
    }
  }

  async *list(prefix: string): AsyncIterable<OpenMultipart> {
    let keyMarker: string | undefined;
    let idMarker: string | undefined;
    do {
      const markers = {
        ...(keyMarker === undefined ? {} : { KeyMarker: keyMarker }),
        ...(idMarker === undefined ? {} : { UploadIdMarker: idMarker }),
      };
      const page = await this.#client
        .send(new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: prefix, ...markers }))
        .catch((error: unknown) => {
          throw storageError(error, `listing open uploads of ${this.#bucket}/${prefix}`);
        });
      for (const upload of page.Uploads ?? []) {
        if (upload.Key === undefined || upload.UploadId === undefined) continue;
        yield { key: upload.Key, uploadId: upload.UploadId };
      }
      keyMarker = page.IsTruncated === true ? page.NextKeyMarker : undefined;
      idMarker = page.IsTruncated === true ? page.NextUploadIdMarker : undefined;
    } while (keyMarker !== undefined);
  }
}

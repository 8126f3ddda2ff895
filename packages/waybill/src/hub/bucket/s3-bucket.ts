// A bucket behind the S3 API: embedded store, AWS, SeaweedFS, R2 and Ceph alike.
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type ListObjectsV2CommandOutput,
  type S3Client,
} from "@aws-sdk/client-s3";
import { WaybillError } from "@waybill/sdk/protocol";
import type { Bucket, Listed, PutCondition, PutOptions, Stored } from "./bucket.ts";
import { isLostRace, isMissing, storageError } from "./s3-error.ts";

/** S3 deletes at most this many keys in one request. */
const DELETE_BATCH = 1000;

export class S3Bucket implements Bucket {
  readonly name: string;
  readonly #client: S3Client;

  constructor(client: S3Client, name: string) {
    this.#client = client;
    this.name = name;
  }

  async get(
    key: string,
  ): Promise<(Stored & { readonly body: Uint8Array; readonly writeId?: string }) | undefined> {
    try {
      const answer = await this.#client.send(new GetObjectCommand({ Bucket: this.name, Key: key }));
      const body = (await answer.Body?.transformToByteArray()) ?? new Uint8Array();
      const writeId = answer.Metadata?.["write-id"];
      return {
        etag: etagOf(answer.ETag, key),
        size: body.length,
        body,
        ...(writeId === undefined ? {} : { writeId }),
      };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageError(error, `reading ${this.name}/${key}`);
    }
  }

  async head(key: string): Promise<(Stored & { readonly crc32: string | undefined }) | undefined> {
    try {
      const answer = await this.#client.send(
        new HeadObjectCommand({ Bucket: this.name, Key: key, ChecksumMode: "ENABLED" }),
      );
      return {
        etag: etagOf(answer.ETag, key),
        size: answer.ContentLength ?? 0,
        crc32: answer.ChecksumCRC32,
      };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageError(error, `looking at ${this.name}/${key}`);
    }
  }

  async put(key: string, body: Uint8Array | string, options: PutOptions = {}): Promise<Stored> {
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    try {
      const answer = await this.#client.send(
        new PutObjectCommand({
          Bucket: this.name,
          Key: key,
          Body: bytes,
          ContentLength: bytes.length,
          ...conditionOf(options.condition),
          ...(options.contentType === undefined ? {} : { ContentType: options.contentType }),
          ...(options.writeId === undefined ? {} : { Metadata: { "write-id": options.writeId } }),
        }),
      );
      return { etag: etagOf(answer.ETag, key), size: bytes.length };
    } catch (error) {
      if (options.condition !== undefined && isLostRace(error)) {
        throw new WaybillError(
          "precondition_failed",
          `${this.name}/${key} is not in the state it was expected in`,
          { cause: error },
        );
      }
      throw storageError(error, `writing ${this.name}/${key}`);
    }
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (let start = 0; start < keys.length; start += DELETE_BATCH) {
      const batch = keys.slice(start, start + DELETE_BATCH);
      try {
        const answer = await this.#client.send(
          new DeleteObjectsCommand({
            Bucket: this.name,
            Delete: { Objects: batch.map((key) => ({ Key: key })), Quiet: true },
          }),
        );
        const failed = (answer.Errors ?? []).filter((entry) => entry.Code !== "NoSuchKey");
        const first = failed[0];
        if (first !== undefined) {
          throw new WaybillError(
            "storage_failed",
            `deleting ${failed.length} of ${batch.length} keys of ${this.name} failed, ` +
              `first ${first.Key ?? "?"} (${first.Code ?? "no code"})`,
          );
        }
      } catch (error) {
        throw storageError(error, `deleting ${batch.length} keys of ${this.name}`);
      }
    }
  }

  async *list(prefix: string, options: { startAfter?: string } = {}): AsyncIterable<Listed> {
    for await (const page of this.#pages(prefix, options)) {
      for (const object of page.Contents ?? []) {
        if (object.Key === undefined) continue;
        yield {
          key: decodeKey(object.Key, page.EncodingType),
          size: object.Size ?? 0,
          modifiedMs: object.LastModified?.getTime() ?? 0,
        };
      }
    }
  }

  async *listFolders(prefix: string): AsyncIterable<string> {
    for await (const page of this.#pages(prefix, { delimiter: "/" })) {
      for (const folder of page.CommonPrefixes ?? []) {
        if (folder.Prefix === undefined) continue;
        yield decodeKey(folder.Prefix, page.EncodingType).slice(prefix.length, -1);
      }
    }
  }

  async *#pages(
    prefix: string,
    options: { startAfter?: string; delimiter?: string },
  ): AsyncIterable<ListObjectsV2CommandOutput> {
    let token: string | undefined;
    do {
      let page: ListObjectsV2CommandOutput;
      try {
        page = await this.#client.send(
          new ListObjectsV2Command({
            Bucket: this.name,
            Prefix: prefix,
            EncodingType: "url",
            ...(options.startAfter === undefined ? {} : { StartAfter: options.startAfter }),
            ...(options.delimiter === undefined ? {} : { Delimiter: options.delimiter }),
            ...(token === undefined ? {} : { ContinuationToken: token }),
          }),
        );
      } catch (error) {
        throw storageError(error, `listing ${this.name}/${prefix}`);
      }
      yield page;
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }
}

function conditionOf(condition: PutCondition | undefined): {
  IfNoneMatch?: string;
  IfMatch?: string;
} {
  if (condition === undefined) return {};
  return "ifAbsent" in condition ? { IfNoneMatch: "*" } : { IfMatch: condition.ifMatch };
}

function etagOf(etag: string | undefined, key: string): string {
  if (etag !== undefined) return etag;
  throw new WaybillError("storage_failed", `the object store gave no ETag for ${key}`);
}

/** With `encoding-type=url` keys survive XML; spaces come as `+` from some stores and `%20` from others. */
function decodeKey(key: string, encoding: string | undefined): string {
  return encoding === "url" ? decodeURIComponent(key.replaceAll("+", "%20")) : key;
}

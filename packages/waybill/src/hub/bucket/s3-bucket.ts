// A bucket behind the S3 API: embedded store, AWS, SeaweedFS, R2 and Ceph alike.
import {
  DeleteObjectsCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  type S3Client,
} from "@aws-sdk/client-s3";
import { WaybillError } from "@waybill/sdk/protocol";
import type { IncomingHttpHeaders } from "node:http";
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
import { COPY_IDLE_MS, copySourceHeader, readCopied } from "./s3-copy.ts";
import { assertDone, storageError } from "./s3-error.ts";
import type { S3Answer, S3Http } from "./s3-http.ts";

/** S3 deletes at most this many keys in one request. */
const DELETE_BATCH = 1000;

export class S3Bucket implements Bucket {
  readonly name: string;
  readonly #client: S3Client;
  readonly #http: S3Http;

  constructor(client: S3Client, http: S3Http, name: string) {
    this.#client = client;
    this.#http = http;
    this.name = name;
  }

  async get(key: string): Promise<Fetched | undefined> {
    const what = `reading ${this.name}/${key}`;
    const answer = await this.#http.send({ method: "GET", bucket: this.name, key }, what);
    if (isMissingKey(answer)) return undefined;
    assertDone(answer, what);
    const { body, headers } = answer;
    return { etag: etagOf(headers.etag, key), size: body.length, body, ...userFacts(headers) };
  }

  async head(key: string): Promise<Head | undefined> {
    const what = `looking at ${this.name}/${key}`;
    const headers = { "x-amz-checksum-mode": "ENABLED" };
    const answer = await this.#http.send({ method: "HEAD", bucket: this.name, key, headers }, what);
    // The answer to a HEAD has no body that would tell a missing key from a missing bucket.
    if (answer.status === 404) return undefined;
    assertDone(answer, what);
    const crc32 = answer.headers["x-amz-checksum-crc32"];
    return {
      etag: etagOf(answer.headers.etag, key),
      size: Number(answer.headers["content-length"] ?? 0),
      crc32: typeof crc32 === "string" ? crc32 : undefined,
      ...userFacts(answer.headers),
    };
  }

  async put(key: string, body: Uint8Array | string, options: PutOptions = {}): Promise<Stored> {
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    const what = `writing ${this.name}/${key}`;
    const headers = {
      ...conditionOf(options.condition),
      ...(options.contentType === undefined ? {} : { "content-type": options.contentType }),
      ...userHeaders(options),
    };
    const { withinMs } = options;
    const answer = await this.#http.send(
      {
        method: "PUT",
        bucket: this.name,
        key,
        headers,
        body: bytes,
        ...(withinMs === undefined ? {} : { withinMs }),
      },
      what,
    );
    if (options.condition !== undefined && lostRace(answer)) {
      throw new WaybillError(
        "precondition_failed",
        `${this.name}/${key} is not in the state it was expected in`,
      );
    }
    assertDone(answer, what);
    return { etag: etagOf(answer.headers.etag, key), size: bytes.length };
  }

  async copyFrom(
    source: Bucket,
    sourceKey: string,
    key: string,
    options: CopyOptions = {},
  ): Promise<Copied | undefined> {
    const what = `copying ${source.name}/${sourceKey} to ${this.name}/${key}`;
    const headers = {
      ...copySourceHeader(source.name, sourceKey),
      ...(options.checksum === true ? { "x-amz-checksum-algorithm": "CRC32" } : {}),
      ...(options.ifAbsent === true ? { "if-none-match": "*" } : {}),
      ...(options.ifSourceMatch === undefined
        ? {}
        : { "x-amz-copy-source-if-match": options.ifSourceMatch }),
    };
    const request = {
      method: "PUT",
      bucket: this.name,
      key,
      headers,
      idleMs: COPY_IDLE_MS,
    } as const;
    const answer = await this.#http.send(request, what);
    if (isMissingKey(answer)) return undefined;
    if (lostRace(answer)) {
      throw new WaybillError("precondition_failed", `${what} found another object there`);
    }
    assertDone(answer, what);
    return readCopied(answer, what);
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

function conditionOf(condition: PutCondition | undefined): Record<string, string> {
  if (condition === undefined) return {};
  return "ifAbsent" in condition ? { "if-none-match": "*" } : { "if-match": condition.ifMatch };
}

const USER_PREFIX = "x-amz-meta-";
const WRITE_ID = "write-id";

function userHeaders({ writeId, metadata = {} }: PutOptions): Record<string, string> {
  const facts = Object.entries(
    writeId === undefined ? metadata : { ...metadata, [WRITE_ID]: writeId },
  );
  return Object.fromEntries(facts.map(([name, value]) => [USER_PREFIX + name, value]));
}

function userFacts(headers: IncomingHttpHeaders): { writeId?: string; metadata: Metadata } {
  const facts: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(USER_PREFIX) && typeof value === "string") {
      facts[name.slice(USER_PREFIX.length)] = value;
    }
  }
  const { [WRITE_ID]: writeId, ...metadata } = facts;
  return { metadata, ...(writeId === undefined ? {} : { writeId }) };
}

function isMissingKey({ status, errorCode }: S3Answer): boolean {
  return status === 404 && errorCode !== "NoSuchBucket";
}

/** 412, 409 (S3 under contention), or 404 for `If-Match` on a key that is gone. */
function lostRace(answer: S3Answer): boolean {
  const contended = answer.status === 409 && answer.errorCode === "ConditionalRequestConflict";
  return answer.status === 412 || contended || isMissingKey(answer);
}

function etagOf(etag: string | undefined, key: string): string {
  if (etag !== undefined) return etag;
  throw new WaybillError("storage_failed", `the object store gave no ETag for ${key}`);
}

/** With `encoding-type=url` keys survive XML; spaces come as `+` from some stores and `%20` from others. */
function decodeKey(key: string, encoding: string | undefined): string {
  return encoding === "url" ? decodeURIComponent(key.replaceAll("+", "%20")) : key;
}

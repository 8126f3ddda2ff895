// Where the hub's bytes are: two buckets behind one S3 endpoint, a signer for what clients may read and
// write there, and the rules that clean up when no hub runs.
import {
  CreateBucketCommand,
  GetBucketLifecycleConfigurationCommand,
  HeadBucketCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { messageOf } from "@waybill/sdk/protocol";
import type { Bucket } from "../bucket/bucket.ts";
import type { MultipartUploads } from "../bucket/multipart.ts";
import { S3Bucket } from "../bucket/s3-bucket.ts";
import { s3ErrorCode, storageError } from "../bucket/s3-error.ts";
import { S3Http } from "../bucket/s3-http.ts";
import { S3MultipartUploads } from "../bucket/s3-multipart.ts";
import type { Clock, Log } from "../log.ts";
import { type ProbePart, knownToWantEqualParts, learnPartRule } from "./part-rule-probe.ts";
import { Presigner, type S3Credentials } from "./presign.ts";
import { StoreClock } from "./store-clock.ts";

/** One bucket with its multipart uploads. */
export type Place = { readonly bucket: Bucket; readonly multipart: MultipartUploads };

export type Storage = {
  readonly uploads: Place;
  readonly rooms: Place;
  readonly presigner: Presigner;
  /** Whether all parts of an object but the last must have one size, and their numbers no gap. */
  equalParts(): Promise<boolean>;
};

export type StorageInit = {
  /** What the hub reaches the store by; AWS's own when absent. */
  readonly endpoint?: string | undefined;
  /** What clients reach it by; `endpoint` when absent. */
  readonly publicEndpoint?: string | undefined;
  readonly region: string;
  readonly uploadsBucket: string;
  readonly roomsBucket: string;
  /** The AWS environment and profile chain when absent. */
  readonly credentials?: S3Credentials | undefined;
  /** Whether the store wants parts of one size; known of AWS and R2, tried out on others, when absent. */
  readonly equalParts?: boolean | undefined;
  /** After this time uploads may go; rounded up to days for lifecycle rules. */
  readonly uploadTtlMs: number;
  readonly clock: Clock;
  readonly log: Log;
};

/** Parallel requests of one hub to its store; more only queue in the store. */
const MAX_SOCKETS = 128;
/** Prefix of the rules this hub writes; others' rules are kept. */
const RULE_PREFIX = "waybill-";
const DAY_MS = 86_400_000;

/** The hub's connection to its object store. */
export class S3Storage implements Storage, AsyncDisposable {
  readonly uploads: Place;
  readonly rooms: Place;
  readonly presigner: Presigner;
  readonly #client: S3Client;
  readonly #http: S3Http;
  readonly #init: StorageInit;
  #equalParts: Promise<boolean> | undefined;

  constructor(init: StorageInit) {
    this.#init = init;
    this.#client = new S3Client({
      region: init.region,
      ...(init.endpoint === undefined ? {} : { endpoint: init.endpoint, forcePathStyle: true }),
      ...(init.credentials === undefined ? {} : { credentials: init.credentials }),
      // Stores other than AWS refuse the trailing checksums the SDK adds by default.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      requestHandler: {
        connectionTimeout: 5000,
        requestTimeout: 30_000,
        httpAgent: { keepAlive: true, maxSockets: MAX_SOCKETS },
        httpsAgent: { keepAlive: true, maxSockets: MAX_SOCKETS },
      },
    });
    const storeClock = new StoreClock(init.clock);
    const presignerFor = (endpoint: string | undefined) =>
      new Presigner({
        endpoint,
        region: init.region,
        credentials: () => this.#client.config.credentials(),
        clock: init.clock,
        signingClock: () => storeClock.now(),
      });
    this.presigner = presignerFor(init.publicEndpoint ?? init.endpoint);
    this.#http = new S3Http({
      presigner: presignerFor(init.endpoint),
      maxSockets: MAX_SOCKETS,
      onDate: (date) => storeClock.note(date),
    });
    const place = (name: string): Place => ({
      bucket: new S3Bucket(this.#client, this.#http, name),
      multipart: new S3MultipartUploads(this.#client, this.#http, name),
    });
    this.uploads = place(init.uploadsBucket);
    this.rooms = place(init.roomsBucket);
  }

  /** Creates missing buckets and tries to leave cleaning rules; throws `storage_failed` without buckets. */
  async prepare(): Promise<void> {
    for (const name of [this.#init.uploadsBucket, this.#init.roomsBucket]) {
      await this.#ensureBucket(name);
    }
    const abandoned = {
      AbortIncompleteMultipartUpload: { DaysAfterInitiation: this.#graceDays },
      Status: "Enabled" as const,
      Filter: { Prefix: "" },
    };
    await this.#ensureRules(this.#init.uploadsBucket, [
      {
        ...abandoned,
        ID: `${RULE_PREFIX}uploads`,
        Expiration: { Days: this.#graceDays },
      },
    ]);
    await this.#ensureRules(this.#init.roomsBucket, [
      { ...abandoned, ID: `${RULE_PREFIX}abandoned-parts` },
    ]);
  }

  /** Tries it out at most once in a bucket's life; never throws, since equal parts suit every store. */
  equalParts(): Promise<boolean> {
    this.#equalParts ??= this.#findPartRule();
    return this.#equalParts;
  }

  async #findPartRule(): Promise<boolean> {
    const { equalParts, endpoint, log } = this.#init;
    const known = equalParts ?? knownToWantEqualParts(endpoint);
    if (known !== undefined) return known;
    const place = this.rooms;
    try {
      return await learnPartRule({
        place,
        endpoint: endpoint ?? "",
        put: (part) => this.#put(part),
      });
    } catch (error) {
      const reason = messageOf(error);
      log("warn", "the store's rule of parts is unknown; all parts have one size", { reason });
      return true;
    }
  }

  async #put({ key, uploadId, part, body, crc32 }: ProbePart): Promise<boolean> {
    const bucket = this.rooms.bucket.name;
    const headers = { "x-amz-checksum-crc32": crc32 };
    const query = { partNumber: String(part), uploadId };
    const request = { method: "PUT", bucket, key, query, headers, body } as const;
    const answer = await this.#http.send(request, `trying the parts of ${bucket}`);
    return answer.status < 300;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
    this.#http.destroy();
  }

  /**
   * The sweeper deletes by the hour; rules are for what outlives every hub. A week on top keeps them from
   * taking the first objects of an upload that goes on for days.
   */
  get #graceDays(): number {
    return Math.ceil(this.#init.uploadTtlMs / DAY_MS) + 7;
  }

  async #ensureBucket(name: string): Promise<void> {
    try {
      await this.#client.send(new HeadBucketCommand({ Bucket: name }));
      return;
    } catch (error) {
      if (!["NotFound", "NoSuchBucket"].includes(s3ErrorCode(error))) {
        throw storageError(error, `looking for bucket ${name}`);
      }
    }
    try {
      await this.#client.send(new CreateBucketCommand({ Bucket: name }));
      this.#init.log("info", "created bucket", { bucket: name });
    } catch (error) {
      // Another hub may have been quicker.
      if (s3ErrorCode(error) === "BucketAlreadyOwnedByYou") return;
      throw storageError(error, `creating bucket ${name}`);
    }
  }

  async #ensureRules(bucket: string, wanted: LifecycleRule[]): Promise<void> {
    try {
      const rules = await this.#rules(bucket);
      const others = rules.filter((rule) => rule.ID?.startsWith(RULE_PREFIX) !== true);
      const ours = rules.filter((rule) => rule.ID?.startsWith(RULE_PREFIX) === true);
      if (sameRules(ours, wanted)) return;
      await this.#client.send(
        new PutBucketLifecycleConfigurationCommand({
          Bucket: bucket,
          LifecycleConfiguration: { Rules: [...others, ...wanted] },
        }),
      );
    } catch (error) {
      this.#init.log("info", "no lifecycle rule could be set; the hub's sweeper alone cleans up", {
        bucket,
        reason: messageOf(error),
      });
    }
  }

  async #rules(bucket: string): Promise<LifecycleRule[]> {
    try {
      const answer = await this.#client.send(
        new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }),
      );
      return answer.Rules ?? [];
    } catch (error) {
      if (s3ErrorCode(error) === "NoSuchLifecycleConfiguration") return [];
      throw error;
    }
  }
}

function sameRules(a: readonly LifecycleRule[], b: readonly LifecycleRule[]): boolean {
  const essence = (rules: readonly LifecycleRule[]) =>
    JSON.stringify(
      rules.map((rule) => [
        rule.ID,
        rule.Expiration?.Days,
        rule.AbortIncompleteMultipartUpload?.DaysAfterInitiation,
      ]),
    );
  return essence(a) === essence(b);
}

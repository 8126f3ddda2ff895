/**
 * Deletes what has expired: objects and unfinished uploads, by lifecycle rules or by age. Works
 * in small transactions, so that requests go on meanwhile, and looks again inside each one: what
 * was rewritten since is left alone.
 */
import type { StoreCore } from "../core.ts";
import type { Bucket } from "../metadata/buckets.ts";
import { objectFromRow, type StoredObject } from "../metadata/objects.ts";
import { uploadFromRow, type Upload } from "../metadata/uploads.ts";
import { abortTime, DAY_MS, expiryTime, parseLifecycle } from "./rules.ts";

/** What a sweep removed. */
export interface SweepReport {
  readonly objects: number;
  readonly uploads: number;
  /** Sizes of the objects added up. */
  readonly bytes: number;
}

/** What {@link expireOlderThan} is asked. */
export interface ExpireRequest {
  readonly bucket: string;
  readonly prefix: string;
  readonly olderThanMs: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

interface Criteria {
  readonly prefix: string;
  objectExpires(object: StoredObject): boolean;
  uploadExpires(upload: Upload): boolean;
}

/** Rows looked at between two pauses. */
const PAGE = 500;
/** Repeated completions are answered this long. */
const COMPLETIONS_KEPT_MS = 2 * DAY_MS;

/** Applies every bucket's lifecycle rules as of `now`. */
export async function sweepLifecycle(core: StoreCore, now: number): Promise<SweepReport> {
  let total: SweepReport = { objects: 0, uploads: 0, bytes: 0 };
  for (const bucket of core.buckets.list()) {
    const configuration = core.buckets.getSetting(bucket, "lifecycle");
    if (configuration === undefined) continue;
    for (const rule of parseLifecycle(configuration, () => "")) {
      const swept = await removeMatching(core, bucket, {
        prefix: rule.prefix,
        objectExpires: ({ key, bytes, modified, attributes }) =>
          (expiryTime(rule, { key, bytes, modified, tags: attributes.tags ?? {} }) ?? Infinity) <=
          now,
        uploadExpires: ({ key, initiated }) => (abortTime(rule, key, initiated) ?? Infinity) <= now,
      });
      total = add(total, swept);
    }
  }
  await core.db.transact(() => core.uploads.deleteCompletionsBefore(now - COMPLETIONS_KEPT_MS));
  return total;
}

/** Removes objects and unfinished uploads below a prefix that are older than a duration. */
export function expireOlderThan(core: StoreCore, request: ExpireRequest): Promise<SweepReport> {
  const before = request.now - request.olderThanMs;
  return removeMatching(core, core.buckets.get(request.bucket), {
    prefix: request.prefix,
    objectExpires: (object) => object.modified < before,
    uploadExpires: (upload) => upload.initiated < before,
  });
}

async function removeMatching(
  core: StoreCore,
  bucket: Bucket,
  criteria: Criteria,
): Promise<SweepReport> {
  const objects = await removeObjects(core, bucket, criteria);
  return { ...objects, uploads: await removeUploads(core, bucket, criteria) };
}

async function removeObjects(
  core: StoreCore,
  bucket: Bucket,
  criteria: Criteria,
): Promise<{ objects: number; bytes: number }> {
  const prefix = Buffer.from(criteria.prefix);
  let from: Buffer | undefined = prefix;
  let objects = 0;
  let bytes = 0;
  while (from) {
    const start: Buffer = from;
    const { removed, next } = await core.db.transact(
      (transaction) => {
        const page = take(core.objects.scan(bucket.id, prefix, start), PAGE);
        const expired = page.map(objectFromRow).filter((one) => criteria.objectExpires(one));
        for (const { key } of expired) core.objects.delete(bucket.id, key, transaction);
        return {
          removed: expired,
          next: page.length < PAGE ? undefined : after(page.at(-1)!.key),
        };
      },
      { freesSpace: true },
    );
    objects += removed.length;
    bytes += removed.reduce((sum, object) => sum + object.bytes, 0);
    from = next;
  }
  return { objects, bytes };
}

async function removeUploads(core: StoreCore, bucket: Bucket, criteria: Criteria): Promise<number> {
  const prefix = Buffer.from(criteria.prefix);
  const expired = [...core.uploads.scan(bucket.id, prefix, prefix)]
    .map(uploadFromRow)
    .filter((upload) => criteria.uploadExpires(upload));
  for (const upload of expired) {
    await core.db.transact((transaction) => core.uploads.delete(bucket.id, upload, transaction), {
      freesSpace: true,
    });
  }
  return expired.length;
}

function take<T>(rows: Iterable<T>, limit: number): T[] {
  const taken: T[] = [];
  for (const row of rows) {
    taken.push(row);
    if (taken.length === limit) break;
  }
  return taken;
}

function after(key: Uint8Array): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

function add(a: SweepReport, b: SweepReport): SweepReport {
  return {
    objects: a.objects + b.objects,
    uploads: a.uploads + b.uploads,
    bytes: a.bytes + b.bytes,
  };
}

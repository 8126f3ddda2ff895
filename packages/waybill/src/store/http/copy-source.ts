/** The source of CopyObject and UploadPartCopy. */
import { readSegments } from "../blobs/read-segments.ts";
import type { RunningDigest } from "../checksums/running-digest.ts";
import type { StoreCore } from "../core.ts";
import type { StoredObject } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import { isBucketName } from "./bucket-name.ts";
import { holdsForRead, readConditions } from "./conditions.ts";
import type { ByteRange } from "./range.ts";
import type { S3Request } from "./s3-request.ts";
import { decode } from "./target.ts";
import { checkVersion } from "./version-id.ts";

export interface CopySource {
  readonly bucket: string;
  readonly key: string;
}

/**
 * Reads `x-amz-copy-source`: `/bucket/key` or `bucket/key`, URL-encoded, perhaps with
 * `?versionId=null`.
 */
export function readCopySource(request: S3Request): CopySource {
  const header = request.header("x-amz-copy-source") ?? "";
  const [encoded, versionId] = header.split(/\?versionId=/i);
  const source = decodeSource(encoded ?? "", header);
  const match = /^\/?([^/]+)\/(.+)$/s.exec(source);
  if (!match) {
    throw new S3Error("InvalidArgument", {
      message: "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
      details: { ArgumentName: "x-amz-copy-source", ArgumentValue: header },
    });
  }
  if (!isBucketName(match[1]!)) {
    throw new S3Error("InvalidArgument", {
      message: "Invalid copy source bucket name",
      details: { ArgumentName: "x-amz-copy-source", ArgumentValue: header },
    });
  }
  checkVersion(versionId);
  return { bucket: match[1]!, key: match[2]! };
}

function decodeSource(encoded: string, header: string): string {
  try {
    return decode(encoded);
  } catch (error) {
    throw new S3Error("InvalidArgument", {
      message: "Invalid copy source encoding",
      details: { ArgumentName: "x-amz-copy-source", ArgumentValue: header },
      cause: error,
    });
  }
}

/**
 * Finds the source and checks the `x-amz-copy-source-if-*` conditions.
 *
 * @throws S3Error `NoSuchBucket`, `NoSuchKey`, `PreconditionFailed`
 */
export function findCopySource(
  core: StoreCore,
  request: S3Request,
  from: CopySource,
): StoredObject {
  const bucket = core.buckets.get(from.bucket);
  const object = core.objects.get(bucket.id, from.key);
  if (!holdsForRead(readConditions(request, "x-amz-copy-source-"), object)) {
    throw new S3Error("PreconditionFailed", {
      details: { Condition: "x-amz-copy-source-If-None-Match" },
    });
  }
  return object;
}

/** Feeds a range of an object to digests, from the disk. */
export async function digestRange(
  core: StoreCore,
  object: StoredObject,
  range: ByteRange,
  digests: readonly RunningDigest[],
): Promise<void> {
  const segments = core.contents.segments(object.content, range.start, range.bytes);
  const unpin = core.pins.pin(segments.map((segment) => segment.blob));
  try {
    for await (const chunk of readSegments(segments, core.blobs, core.pool)) {
      for (const digest of digests) digest.update(chunk);
    }
  } finally {
    unpin();
  }
}

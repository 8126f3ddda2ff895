/** GetObject and HeadObject */
import { readSegments } from "../blobs/read-segments.ts";
import type { StoreCore } from "../core.ts";
import type { StoredObject } from "../metadata/objects.ts";
import { S3Error } from "../s3-error.ts";
import { holdsForRead, readConditions } from "./conditions.ts";
import { checksumHeaders, objectHeaders } from "./object-headers.ts";
import type { Call } from "./operation.ts";
import { resolveRange, type ByteRange } from "./range.ts";
import type { S3Request } from "./s3-request.ts";
import type { ResponseHeaders } from "./s3-response.ts";
import { readPartNumber } from "./upload-part.ts";
import { checkVersion } from "./version-id.ts";

/** What of an object is answered: all of it, a range, or one of its parts. */
interface Selection {
  readonly range: ByteRange;
  readonly partial: boolean;
  readonly headers: ResponseHeaders;
}

export async function getObject({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  checkVersion(request.query.get("versionId"));
  const partNumber = request.query.has("partNumber") ? readPartNumber(request) : undefined;
  const object = core.objects.get(bucket.id, request.key);
  const headers = objectHeaders(object, request);
  if (!holdsForRead(readConditions(request), object)) {
    response.empty(304, {
      etag: headers["etag"],
      "last-modified": headers["last-modified"],
      "cache-control": headers["cache-control"],
      expires: headers["expires"],
    });
    return;
  }
  const { range, partial, headers: selected } = select(core, request, object, partNumber);
  Object.assign(headers, selected, { "content-length": range.bytes });
  if (partial) {
    const last = range.start + range.bytes - 1;
    headers["content-range"] = `bytes ${range.start}-${last}/${object.bytes}`;
  }
  const status = partial ? 206 : 200;
  if (request.method === "HEAD" || range.bytes === 0) {
    response.head(status, headers);
    return;
  }
  const segments = core.contents.segments(object.content, range.start, range.bytes);
  const unpin = core.pins.pin(segments.map((segment) => segment.blob));
  try {
    await response.stream(status, headers, readSegments(segments, core.blobs, core.pool));
  } finally {
    unpin();
  }
}

function select(
  core: StoreCore,
  request: S3Request,
  object: StoredObject,
  partNumber: number | undefined,
): Selection {
  const rangeHeader = request.header("range");
  const wantsChecksum = request.header("x-amz-checksum-mode")?.toUpperCase() === "ENABLED";
  if (partNumber !== undefined) {
    if (rangeHeader !== undefined) {
      throw new S3Error("InvalidRequest", {
        message: "Cannot specify both Range header and partNumber query parameter",
      });
    }
    return selectPart(core, object, partNumber, wantsChecksum);
  }
  const range = resolveRange(rangeHeader, object.bytes);
  if (range) return { range, partial: true, headers: {} };
  return {
    range: { start: 0, bytes: object.bytes },
    partial: false,
    headers: wantsChecksum ? checksumHeaders(object.attributes.checksum) : {},
  };
}

function selectPart(
  core: StoreCore,
  object: StoredObject,
  number: number,
  wantsChecksum: boolean,
): Selection {
  const { checksum, partCount } = object.attributes;
  if (partCount === undefined) {
    if (number > 1) throw new S3Error("InvalidPartNumber");
    return {
      range: { start: 0, bytes: object.bytes },
      partial: object.bytes > 0,
      headers: wantsChecksum ? checksumHeaders(checksum) : {},
    };
  }
  // The n-th part of the object, whatever number it was uploaded under.
  const part = core.contents.parts(object.content, 0, number)[number - 1];
  if (!part) throw new S3Error("InvalidPartNumber");
  const partChecksum =
    wantsChecksum && checksum && part.checksum !== undefined
      ? checksumHeaders({ ...checksum, value: part.checksum })
      : {};
  return {
    range: { start: part.start, bytes: part.bytes },
    partial: part.bytes > 0,
    headers: { ...partChecksum, "x-amz-mp-parts-count": partCount },
  };
}

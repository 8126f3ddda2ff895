/** UploadPart */
import { checksumHeader } from "../checksums/checksum.ts";
import { S3Error } from "../s3-error.ts";
import { planIntegrity } from "./integrity.ts";
import { refuseUnsupported } from "./object-headers.ts";
import type { Call } from "./operation.ts";
import type { S3Request } from "./s3-request.ts";
import { storeBody } from "./store-body.ts";

/** S3's bound. */
const MAX_PARTS = 10_000;

export async function uploadPart({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const number = readPartNumber(request);
  const uploadId = request.query.get("uploadId") ?? "";
  const { attributes } = core.uploads.get(bucket.id, request.key, uploadId);
  refuseUnsupported(request);
  const wanted = attributes.checksum?.algorithm;
  // A composite checksum is made of what clients vouched for; a full one can be computed here.
  const fallback = attributes.checksum?.type === "FULL_OBJECT" ? wanted : undefined;
  const integrity = await planIntegrity(request, { etag: "fast", only: wanted, fallback });
  const { etag, checksum } = await storeBody(core, request, integrity, (body, transaction) => {
    // It may have been completed or aborted while the body came.
    core.uploads.get(bucket.id, request.key, uploadId);
    const part = {
      number,
      content: core.contents.createFromBlob(body.blob),
      etag: body.etag,
      bytes: body.bytes,
      modified: core.now(),
      checksum: wanted === undefined ? undefined : body.checksum,
    };
    core.uploads.putPart(uploadId, part, transaction);
    return body;
  });
  response.empty(200, {
    etag: `"${etag}"`,
    ...(integrity.algorithm && checksum ? { [checksumHeader(integrity.algorithm)]: checksum } : {}),
  });
}

/** @throws S3Error `InvalidArgument` */
export function readPartNumber(request: S3Request): number {
  const text = request.query.get("partNumber") ?? "";
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (number >= 1 && number <= MAX_PARTS) return number;
  throw new S3Error("InvalidArgument", {
    message: `Part number must be an integer between 1 and ${MAX_PARTS}, inclusive.`,
    details: { ArgumentName: "partNumber", ArgumentValue: text },
  });
}

/** AbortMultipartUpload */
import type { Transaction } from "../metadata/database.ts";
import { S3Error } from "../s3-error.ts";
import type { Call } from "./operation.ts";

export async function abortUpload({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const uploadId = request.query.get("uploadId") ?? "";
  const abort = (transaction: Transaction): void => {
    const upload = core.uploads.get(bucket.id, request.key, uploadId);
    const expected = request.header("x-amz-if-match-initiated-time");
    if (expected !== undefined && !isInitiated(expected, upload.initiated, core.now())) {
      throw new S3Error("PreconditionFailed", {
        details: { Condition: "x-amz-if-match-initiated-time" },
      });
    }
    core.uploads.delete(bucket.id, upload, transaction);
  };
  await core.db.transact(abort, { freesSpace: true });
  response.empty(204);
}

/** A time to come cannot have been anybody's beginning: such a header is ignored, as S3 does. */
function isInitiated(header: string, initiated: number, now: number): boolean {
  const expected = Date.parse(header);
  return expected > now || Math.floor(expected / 1000) === Math.floor(initiated / 1000);
}

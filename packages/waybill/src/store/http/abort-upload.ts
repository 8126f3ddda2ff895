/** AbortMultipartUpload */
import { S3Error } from "../s3-error.ts";
import type { Call } from "./operation.ts";

export async function abortUpload({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const uploadId = request.query.get("uploadId") ?? "";
  await core.db.transact((transaction) => {
    const upload = core.uploads.get(bucket.id, request.key, uploadId);
    const initiated = request.header("x-amz-if-match-initiated-time");
    if (
      initiated !== undefined &&
      wholeSecond(Date.parse(initiated)) !== wholeSecond(upload.initiated)
    ) {
      throw new S3Error("PreconditionFailed", {
        details: { Condition: "x-amz-if-match-initiated-time" },
      });
    }
    core.uploads.delete(bucket.id, upload, transaction);
  });
  response.empty(204);
}

/** HTTP dates have no milliseconds. */
function wholeSecond(time: number): number {
  return Math.floor(time / 1000);
}

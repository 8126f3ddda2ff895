/** AbortMultipartUpload */
import type { Call } from "./operation.ts";

export async function abortUpload({ request, response, core }: Call): Promise<void> {
  const bucket = core.buckets.get(request.bucket);
  const uploadId = request.query.get("uploadId") ?? "";
  await core.db.transact((transaction) => {
    const upload = core.uploads.get(bucket.id, request.key, uploadId);
    core.uploads.delete(bucket.id, upload, transaction);
  });
  response.empty(204);
}

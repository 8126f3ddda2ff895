// What the S3 client throws, in this project's words. Nothing of the request goes into the message but
// the operation and the key: no URL, no header (I10).
import { WaybillError } from "@waybill/sdk/protocol";
import type { S3Answer } from "./s3-http.ts";

/** S3's error code (`NoSuchKey`, …) or the name of what was thrown. */
export function s3ErrorCode(error: unknown): string {
  return error instanceof Error ? error.name : "Unknown";
}

function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("$metadata" in error)) return undefined;
  const metadata = error.$metadata;
  if (typeof metadata !== "object" || metadata === null || !("httpStatusCode" in metadata)) {
    return undefined;
  }
  return typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : undefined;
}

/** Whether a GET, HEAD or multipart call found nothing. A missing bucket is not "nothing": it is a fault. */
export function isMissing(error: unknown): boolean {
  const code = s3ErrorCode(error);
  if (code === "NoSuchBucket") return false;
  return code === "NoSuchKey" || code === "NotFound" || code === "NoSuchUpload";
}

/** `storage_full` when the store has no room, else `storage_failed`; `what` names operation and key. */
export function storageError(error: unknown, what: string): WaybillError {
  if (error instanceof WaybillError) return error;
  const status = statusOf(error);
  const code = s3ErrorCode(error);
  if (status === 507) {
    return new WaybillError("storage_full", `${what} failed: the object store's disk is full`, {
      cause: error,
      hint: "free space on the store's disk",
    });
  }
  const answer = status === undefined ? code : `${code}, HTTP ${status}`;
  return new WaybillError("storage_failed", `${what} failed (${answer})`, {
    cause: error,
    hint:
      status === 403 || code === "CredentialsProviderError"
        ? "check the hub's S3 credentials and their rights on the bucket"
        : "check that the object store is running and can be reached from the hub",
  });
}

/** Throws `storage_failed` unless an answer is 2xx. */
export function assertDone(
  { status, errorCode }: Pick<S3Answer, "status" | "errorCode">,
  what: string,
): void {
  if (status >= 200 && status < 300) return;
  const code = errorCode ?? "no code";
  throw new WaybillError("storage_failed", `${what} failed (${code}, HTTP ${status})`, {
    hint:
      status === 403
        ? "check the hub's S3 credentials and their rights on the bucket"
        : "check that the bucket is there",
  });
}

// What an object store's refusal means for a transfer.
import { type ErrorCode, WaybillError } from "../protocol/index.ts";

type Refusal = {
  readonly status: number;
  readonly header: (name: string) => string | undefined;
  readonly text: string;
};

/** Codes of S3's XML errors that decide more than their status does. */
const BY_S3_CODE: Readonly<Record<string, ErrorCode>> = {
  ExpiredToken: "url_expired",
  RequestExpired: "url_expired",
  AccessDenied: "url_expired",
  SignatureDoesNotMatch: "url_expired",
  InvalidAccessKeyId: "url_expired",
  NoSuchUpload: "not_found",
  NoSuchBucket: "not_found",
  NoSuchKey: "not_found",
  BadDigest: "storage_failed",
  InvalidDigest: "storage_failed",
  XAmzContentSHA256Mismatch: "storage_failed",
  XAmzContentChecksumMismatch: "storage_failed",
  IncompleteBody: "storage_failed",
  RequestTimeout: "storage_failed",
  SlowDown: "storage_failed",
  StorageFull: "storage_full",
  XMinioStorageFull: "storage_full",
  InsufficientStorage: "storage_full",
  QuotaExceeded: "storage_full",
  EntityTooLarge: "too_large",
};

/** The error for an answer that is not a success; `what` is the object, the URL's query is never shown (I10). */
export function storeError(what: string, url: string, refusal: Refusal): WaybillError {
  const s3Code = /<Code>\s*([A-Za-z0-9]+)\s*<\/Code>/.exec(refusal.text)?.[1];
  const { host } = new URL(url);
  const isPage = s3Code === undefined && /html/i.test(refusal.header("content-type") ?? "");
  // Stores answer in XML: a page is some portal's or proxy's, whatever its status says.
  const code = isPage
    ? "storage_failed"
    : ((s3Code === undefined ? undefined : BY_S3_CODE[s3Code]) ?? byStatus(refusal.status));
  const seconds = Number(refusal.header("retry-after"));
  return new WaybillError(
    code,
    `store ${host} refused ${what} with ${refusal.status}${s3Code === undefined ? "" : ` ${s3Code}`}`,
    {
      ...(seconds > 0 ? { retryAfterMs: seconds * 1000 } : {}),
      ...(code === "storage_full"
        ? { hint: "free space on the store's disk, then run it again" }
        : {}),
    },
  );
}

function byStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return "url_expired";
  if (status === 404) return "not_found";
  if (status === 412) return "precondition_failed";
  if (status === 413) return "too_large";
  if (status === 507) return "storage_full";
  // Presigned URLs lead to the store itself: what redirects is something in between.
  if (status >= 300 && status < 400) return "storage_failed";
  if (status === 408 || status === 429 || status >= 500) return "storage_failed";
  return "invalid_request";
}

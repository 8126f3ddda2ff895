/** How a request's body is protected: the meanings of `x-amz-content-sha256`. */
import { S3Error } from "../s3-error.ts";

export type Payload =
  /** The whole body hashes to this (hexadecimal). */
  | { readonly kind: "hashed"; readonly sha256: string }
  | { readonly kind: "unsigned" }
  /** `aws-chunked` framing: with a signature on each chunk or without, with trailers or without. */
  | { readonly kind: "chunked"; readonly signed: boolean; readonly trailer: boolean };

/**
 * Reads `x-amz-content-sha256`.
 *
 * @throws S3Error `InvalidArgument` for an unknown marker, `NotImplemented` for SigV4A
 */
export function parsePayload(value: string): Payload {
  switch (value) {
    case "UNSIGNED-PAYLOAD":
      return { kind: "unsigned" };
    case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD":
      return { kind: "chunked", signed: true, trailer: false };
    case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
      return { kind: "chunked", signed: true, trailer: true };
    case "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
      return { kind: "chunked", signed: false, trailer: true };
    default:
  }
  if (/^[0-9a-fA-F]{64}$/.test(value)) return { kind: "hashed", sha256: value.toLowerCase() };
  if (value.startsWith("STREAMING-AWS4-ECDSA-")) {
    throw new S3Error("NotImplemented", { message: "SigV4A signatures are not supported." });
  }
  throw new S3Error("InvalidArgument", {
    message:
      "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    details: { ArgumentName: "x-amz-content-sha256", ArgumentValue: value },
  });
}

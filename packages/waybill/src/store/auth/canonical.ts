/**
 * The arithmetic of Signature Version 4: canonical request, string to sign, signing key.
 * Everything here is pure; see "Authenticating Requests (AWS Signature Version 4)" in the S3 API
 * reference.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export const ALGORITHM = "AWS4-HMAC-SHA256";
export const EMPTY_SHA256 = createHash("sha256").digest("hex");

/** Date, region and service a signature is good for. */
export interface Scope {
  /** `yyyymmdd` */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

/** The parts of a request a signature covers. */
export interface SignedRequest {
  readonly method: string;
  /** Decoded path, starting with a slash. */
  readonly path: string;
  /** Decoded query parameters, without the signature itself. */
  readonly query: readonly (readonly [name: string, value: string])[];
  /** Header pairs as they came, names in any case, values as Latin-1 text of their bytes. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Lower-case names, in the order the client listed them. */
  readonly signedHeaders: readonly string[];
  /** Hex SHA-256 of the body, or one of S3's markers. */
  readonly payload: string;
}

/** SHA-256 of the canonical request, in hexadecimal. */
export function canonicalRequestHash(request: SignedRequest): string {
  const canonical = [
    request.method,
    encodePath(request.path),
    canonicalQuery(request.query),
    ...request.signedHeaders.map((name) => `${name}:${headerValue(request.headers, name)}`),
    "",
    request.signedHeaders.join(";"),
    request.payload,
  ].join("\n");
  // Latin-1 gives back the bytes the client put on the wire, whatever their encoding was.
  return createHash("sha256").update(canonical, "latin1").digest("hex");
}

function canonicalQuery(query: SignedRequest["query"]): string {
  return query
    .map(([name, value]) => [encodeComponent(name), encodeComponent(value)] as const)
    .sort(([a, x], [b, y]) => compareText(a, b) || compareText(x, y))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function headerValue(headers: SignedRequest["headers"], name: string): string {
  const values: string[] = [];
  for (const [header, value] of headers) {
    if (header.toLowerCase() === name) values.push(value.trim().replaceAll(/ +/g, " "));
  }
  return values.join(",");
}

/** Percent-encodes as S3 does: everything but letters, digits and `-._~`. */
export function encodeComponent(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** {@link encodeComponent}, leaving slashes. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeComponent).join("/");
}

/** `20260101/us-east-1/s3/aws4_request` */
export function scopeText(scope: Scope): string {
  return `${scope.date}/${scope.region}/${scope.service}/aws4_request`;
}

/** The key a secret yields for one day, region and service. */
export function signingKey(secret: string, scope: Scope): Buffer {
  let key = hmac(`AWS4${secret}`, scope.date);
  key = hmac(key, scope.region);
  key = hmac(key, scope.service);
  return hmac(key, "aws4_request");
}

/**
 * Signs lines with a signing key.
 *
 * @returns 64 hexadecimal digits
 */
export function sign(key: Buffer, lines: readonly string[]): string {
  return createHmac("sha256", key).update(lines.join("\n")).digest("hex");
}

/** The lines that are signed for a request. `time` is `yyyymmddThhmmssZ`. */
export function stringToSign(time: string, scope: Scope, requestHash: string): string[] {
  return [ALGORITHM, time, scopeText(scope), requestHash];
}

/** Compares two signatures in time that does not depend on where they differ. */
export function sameSignature(given: string, computed: string): boolean {
  const a = Buffer.from(given);
  const b = Buffer.from(computed);
  return a.length === b.length && timingSafeEqual(a, b);
}

function hmac(key: string | Buffer, data: string): Buffer {
  return createHmac("sha256", key).update(data).digest();
}

/** Milliseconds since 1970 of `yyyymmddThhmmssZ`; `undefined` when it is not such a time. */
export function parseAmzTime(text: string): number | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (!match) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1);
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(time) ? undefined : time;
}

/** `yyyymmddThhmmssZ` of a time in milliseconds since 1970. */
export function formatAmzTime(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
}

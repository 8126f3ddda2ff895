/**
 * The target of a request: which bucket and key its URL names. Works on the raw URL, because
 * keys may contain `..`, `//` and anything else that a URL library would tidy away.
 */
import { S3Error } from "../s3-error.ts";

export interface Target {
  /** Decoded path as the client signed it, starting with a slash. */
  readonly path: string;
  /** Decoded query parameters in order. */
  readonly query: readonly (readonly [name: string, value: string])[];
  readonly bucket: string | undefined;
  readonly key: string | undefined;
}

/** S3's bound, in bytes of UTF-8. */
const MAX_KEY_BYTES = 1024;

/**
 * @param rawUrl what stood in the request line
 * @param host the Host header; `bucket.localhost` addresses a bucket by name
 * @throws S3Error `InvalidURI` when an escape is broken, `KeyTooLongError`
 */
export function parseTarget(rawUrl: string, host: string): Target {
  // A proxy's absolute form: http://host/path
  const url = rawUrl.replace(/^https?:\/\/[^/?]*/i, "");
  const mark = url.indexOf("?");
  const path = decode(mark < 0 ? url : url.slice(0, mark)) || "/";
  const query = mark < 0 ? [] : parseQuery(url.slice(mark + 1));
  const virtualBucket = /^([a-z0-9][a-z0-9.-]*)\.localhost(?::\d+)?$/i.exec(host)?.[1];
  const resource = virtualBucket === undefined ? path.slice(1) : `${virtualBucket}${path}`;
  const slash = resource.indexOf("/");
  const bucket = slash < 0 ? resource : resource.slice(0, slash);
  const key = slash < 0 ? "" : resource.slice(slash + 1);
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) {
    throw new S3Error("KeyTooLongError", {
      details: { Size: String(Buffer.byteLength(key)), MaxSizeAllowed: String(MAX_KEY_BYTES) },
    });
  }
  return { path, query, bucket: bucket || undefined, key: key || undefined };
}

/** Pairs of a query string or of S3's `x-amz-tagging`, decoded. */
export function parseQuery(text: string): [string, string][] {
  return text
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const equals = pair.indexOf("=");
      const name = equals < 0 ? pair : pair.slice(0, equals);
      const value = equals < 0 ? "" : pair.slice(equals + 1);
      return [decode(name.replaceAll("+", " ")), decode(value.replaceAll("+", " "))];
    });
}

/** Percent-decodes UTF-8. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new S3Error("InvalidURI", { cause: error, details: { URI: text } });
  }
}

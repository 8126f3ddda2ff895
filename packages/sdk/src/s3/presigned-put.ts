// The S3 side of an upload: one PUT per presigned URL. Says in our words what a store's refusal means, so
// that the upload's machine knows whether to sign again, wait, or stop (docs/protocol/artifact.md §7).
import type { ByteTransport, ConnectionFacts, PutAnswer } from "../platform/index.ts";
import { type SignedPart, WaybillError } from "../protocol/index.ts";
import { storeError } from "./store-error.ts";

export type PutPart = (
  permit: SignedPart,
  body: Uint8Array,
  options: {
    readonly signal: AbortSignal;
    readonly onSent: (bytes: number) => void;
    /** A kept connection that is older is not used, in milliseconds. */
    readonly maxConnectionAgeMs?: number;
    readonly onConnection?: (facts: ConnectionFacts) => void;
  },
) => Promise<void>;

/**
 * A function that puts bodies through presigned URLs. It throws `url_expired` (sign again), `unreachable`,
 * `timeout` or `storage_failed` (try again), `precondition_failed` (another body is there), `not_found` (the
 * multipart upload is gone), `storage_full`.
 */
export function createPresignedPut(transport: ByteTransport, idleMs?: number): PutPart {
  return async (permit, body, { signal, onSent, maxConnectionAgeMs, onConnection }) => {
    // The transport sets the length itself, from the body: the same as was signed.
    const { "content-length": _, ...headers } = permit.headers;
    const answer = await transport.put({
      url: permit.url,
      headers,
      body,
      signal,
      onSent,
      maxConnectionAgeMs,
      onConnection,
      ...(idleMs === undefined ? {} : { idleMs }),
    });
    if (answer.status >= 200 && answer.status < 300) {
      checkStore(permit, answer);
      const stored = answer.header("x-amz-checksum-crc32");
      const expected = headers["x-amz-checksum-crc32"];
      if (stored === undefined || expected === undefined || stored === expected) return;
      throw new WaybillError(
        "storage_failed",
        `the store kept ${permit.key} with another checksum`,
      );
    }
    throw storeError(
      `${permit.key}${permit.part > 0 ? ` part ${permit.part}` : ""}`,
      permit.url,
      answer,
    );
  };
}

/** Throws unless a success is a store's: every store names what it keeps by an `ETag`, a portal's page does not. */
function checkStore({ key, url }: SignedPart, answer: PutAnswer): void {
  const isPage = /html/i.test(answer.header("content-type") ?? "");
  if (!isPage && answer.header("etag") !== undefined) return;
  throw new WaybillError(
    "storage_failed",
    `${new URL(url).host} answered the upload of ${key} with ${isPage ? "a web page" : `${answer.status} and no ETag`}: a portal may want you to log in`,
    { hint: "a login page of the network may be in the way: open any page in a browser" },
  );
}

/**
 * The write path shared by objects and parts: receive, verify, make durable, then commit the row.
 * Whatever fails, nothing half-written is visible and no file stays behind.
 */
import { receiveBody } from "../blobs/receive.ts";
import type { StoreCore } from "../core.ts";
import type { NewBlob } from "../metadata/contents.ts";
import type { Transaction } from "../metadata/database.ts";
import { S3Error } from "../s3-error.ts";
import type { Integrity } from "./integrity.ts";
import type { S3Request } from "./s3-request.ts";

/** S3's bound for one PUT, of an object or of a part: 5 GiB. */
const MAX_PUT_BYTES = 5 * 1024 ** 3;

/** Bytes that are durable and verified, waiting for their row. */
export interface StoredBody {
  readonly blob: NewBlob;
  readonly bytes: number;
  /** Without quotes. */
  readonly etag: string;
  /** Base64, in the algorithm the integrity plan names. */
  readonly checksum: string | undefined;
}

/**
 * Stores a request's body and commits it.
 *
 * @param commit runs in the transaction that makes the body visible; when it throws, the body is
 *   thrown away
 */
export async function storeBody<T>(
  core: StoreCore,
  request: S3Request,
  integrity: Integrity,
  commit: (body: StoredBody, transaction: Transaction) => T,
): Promise<T> {
  const expectedBytes = request.body.bytes;
  if (expectedBytes === undefined) throw new S3Error("MissingContentLength");
  if (expectedBytes > MAX_PUT_BYTES) {
    throw new S3Error("EntityTooLarge", {
      details: { ProposedSize: String(expectedBytes), MaxSizeAllowed: String(MAX_PUT_BYTES) },
    });
  }
  const received = await receiveBody(request.body.chunks(), {
    expectedBytes,
    digests: integrity.digests,
    blobs: core.blobs,
  });
  let blob: NewBlob;
  let verified: ReturnType<Integrity["verify"]>;
  try {
    verified = integrity.verify();
    blob = await received.commit();
  } catch (error) {
    await received.abort();
    throw error;
  }
  try {
    const body = { blob, bytes: received.bytes, ...verified };
    return await core.db.transact((transaction) => commit(body, transaction));
  } catch (error) {
    if (blob.kind === "file") await core.blobs.delete([blob.id]);
    throw error;
  }
}

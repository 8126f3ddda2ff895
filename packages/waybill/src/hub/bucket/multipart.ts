// Multipart uploads of one bucket, as the hub needs them: it opens, reads, joins and drops them; the parts
// themselves go from clients to the store through presigned URLs and never pass here.

import type { Copied } from "./bucket.ts";

/** A part as the store accounts for it. */
export type StoredPart = {
  readonly part: number;
  readonly size: number;
  readonly etag: string;
  /** Base64; stores without checksum support give none. */
  readonly crc32: string | undefined;
};

/** A range of a stored object, or all of it. */
export type CopySource = {
  readonly bucket: string;
  readonly key: string;
  readonly start: number;
  readonly size: number;
  /** The range is the whole object. Stores copy ranges only from objects of more than 5 MiB. */
  readonly isWhole?: boolean;
};

export type OpenMultipart = { readonly key: string; readonly uploadId: string };

/** Every method throws `storage_failed` when the store cannot be reached or misbehaves. */
export interface MultipartUploads {
  /** Opens an upload whose parts carry CRC-32 checksums; answers its id. */
  create(key: string): Promise<string>;
  /** Parts in order; `undefined` when there is no such upload (any more). */
  listParts(key: string, uploadId: string): Promise<StoredPart[] | undefined>;
  /**
   * Makes a part of a range of another object, within the store; `missing` when that is not there, `gone` when there
   * is no such upload (any more).
   */
  copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: CopySource,
  ): Promise<Copied | "missing" | "gone">;
  /** Joins the parts into the object; `gone` when there is no such upload (any more). */
  complete(
    key: string,
    uploadId: string,
    parts: readonly StoredPart[],
  ): Promise<"completed" | "gone">;
  /** Drops the upload and its parts; no error when there is none. */
  abort(key: string, uploadId: string): Promise<void>;
  /** Open uploads of keys below a prefix. */
  list(prefix: string): AsyncIterable<OpenMultipart>;
}

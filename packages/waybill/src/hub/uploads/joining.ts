// One object of an upload that was sent in parts: the parts the client names are compared with the store's own list
// (numbers, sizes, checksums), then joined. Checking and joining are two steps, so that nothing is joined of an upload
// whose other objects are not whole.
import { crc32Combine } from "@waybill/sdk/delta";
import { type RouteBody, WaybillError, partOffset } from "@waybill/sdk/protocol";
import { crc32 } from "node:zlib";
import type { StoredPart } from "../bucket/multipart.ts";
import type { Place } from "../storage/storage.ts";
import { checkTiling, incomplete } from "./part-rule.ts";
import type { UploadDoc } from "./upload-doc.ts";

export type NamedPart = RouteBody<"completeUpload">["objects"][number]["parts"][number];

/** Stored bytes between two plain offsets of an object (`end` absent: its end). */
type SizeBetween = (start: number, end: number | undefined) => number;

export type JoinDeps = {
  readonly doc: UploadDoc;
  readonly place: Place;
  /** Joined objects that are wrong are added, by key with their etags: they must be sent anew. */
  readonly spoiled: Map<string, string>;
};

export type KnownSize = { readonly bytes: number; readonly between: SizeBetween };

/** An object whose parts are right; `join` makes it whole. */
export type Joinable = { readonly join: () => Promise<void> };

/**
 * Checks the parts of an object. Throws `conflict` for what is missing, `digest_mismatch` for parts that are not the
 * client's.
 *
 * @param size stored bytes of the whole object, when they are known
 */
export async function checkParts(
  { doc, place, spoiled }: JoinDeps,
  key: string,
  named: readonly NamedPart[],
  size?: KnownSize,
): Promise<Joinable> {
  const uploadId = doc.multipart[key];
  const path = doc.prefix + key;
  const listed =
    uploadId === undefined ? undefined : await place.multipart.listParts(path, uploadId);
  const joinedBefore = () => checkJoinedBefore({ doc, place, spoiled }, key, named, size);
  if (uploadId === undefined || listed === undefined) {
    await joinedBefore();
    return { join: async () => {} };
  }
  const parts = chooseParts(key, named, listed);
  checkTiling(doc, key, parts, size?.between);
  return {
    join: async () => {
      const outcome = await place.multipart.complete(path, uploadId, parts);
      if (outcome === "gone") await joinedBefore();
    },
  };
}

/** The stored parts a client names, in its order. */
function chooseParts(
  key: string,
  named: readonly NamedPart[],
  listed: readonly StoredPart[],
): StoredPart[] {
  const byNumber = new Map(listed.map((part) => [part.part, part]));
  return named.map(({ part: number, crc32: wanted }) => {
    const part = byNumber.get(number);
    if (part === undefined) throw incomplete(`part ${number} of ${key} is not stored`);
    // A store without checksums leaves it to the readers, who verify every shard (I1).
    if (part.crc32 === undefined || part.crc32 === wanted) return part;
    throw changed(`part ${number} of ${key}`);
  });
}

/** A completion that was cut off had joined this object, if it is there with the right size and checksum. */
async function checkJoinedBefore(
  { doc, place, spoiled }: JoinDeps,
  key: string,
  named: readonly NamedPart[],
  size: KnownSize | undefined,
): Promise<void> {
  const head = await place.bucket.head(doc.prefix + key);
  const isMissing = head === undefined || head.etag === doc.anew?.[key];
  if (isMissing || (size !== undefined && head.size !== size.bytes)) {
    throw incomplete(`${key} is not stored, and its parts are gone`);
  }
  // Who was told of the object's own checksum names no parts; without one the readers verify every shard (I1).
  if (named.length === 0 || head.crc32 === undefined) return;
  const isComposite = head.crc32.includes("-");
  const wanted = isComposite ? compositeCrc(named) : wholeCrc(doc, named, head.size, size?.between);
  if (head.crc32 === wanted) return;
  spoiled.set(key, head.etag);
  throw changed(key);
}

/** CRC-32 of an object of `bytes` bytes whose parts have these. */
function wholeCrc(
  { plan: { unitBytes } }: UploadDoc,
  named: readonly NamedPart[],
  bytes: number,
  between: SizeBetween | undefined,
): string {
  let sum = 0;
  let reached = 0;
  for (const [at, part] of named.entries()) {
    const next = named[at + 1];
    const start = partOffset(part.part, unitBytes);
    const end = next === undefined ? undefined : partOffset(next.part, unitBytes);
    const size = between?.(start, end) ?? (end === undefined ? bytes - reached : end - start);
    sum = crc32Combine(sum, Buffer.from(part.crc32, "base64").readUInt32BE(), size);
    reached += size;
  }
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(sum);
  return checksum.toString("base64");
}

/** The composite checksum of stores that keep no other: the CRC-32 of the parts' CRC-32s, and how many. */
function compositeCrc(named: readonly NamedPart[]): string {
  const all = Buffer.concat(named.map((part) => Buffer.from(part.crc32, "base64")));
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(all));
  return `${checksum.toString("base64")}-${named.length}`;
}

/** What is stored is not what the client has. */
export function changed(what: string): WaybillError {
  return new WaybillError(
    "digest_mismatch",
    `${what} is stored with another checksum than the file has now`,
    { hint: "the file changed while it was uploaded; push again" },
  );
}

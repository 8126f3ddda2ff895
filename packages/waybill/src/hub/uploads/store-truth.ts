// What the store holds of an upload: the only account of progress there is (I2).
import { MANIFEST_KEY, type ObjectProgress, type UploadStatus } from "@waybill/sdk/protocol";
import type { Bucket } from "../bucket/bucket.ts";
import type { StoredPart } from "../bucket/multipart.ts";
import type { Place } from "../storage/storage.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import { type UploadDoc, placeAtOnce, plannedSize } from "./upload-doc.ts";

/** The bucket that `place` names. */
export type Places = (doc: Pick<UploadDoc, "place">) => Place;

export type StoreTruth = {
  readonly objects: ObjectProgress[];
  /** Keys whose recorded multipart upload is gone without an object: to be opened again. */
  readonly dead: string[];
};

/** Requests to the store at once for one status. */
const PARALLEL = 32;

/** An upload of which nothing is stored. */
export function nothingStored(doc: UploadDoc): ObjectProgress[] {
  return doc.plan.objects.map(({ key, size }) => ({ key, size, done: false, parts: [] }));
}

/** Asks the store about every object of an open upload. Throws `storage_failed`. */
export async function readTruth(doc: UploadDoc, places: Places): Promise<StoreTruth> {
  const final = places(doc);
  const atOnce = placeAtOnce(doc);
  const joined = await sizesBelow(final, doc.prefix);
  const put = atOnce === doc ? joined : await sizesBelow(places(atOnce), atOnce.prefix);
  const keys = doc.plan.objects.map((object) => object.key);
  if (put.has(MANIFEST_KEY) || doc.multipart[MANIFEST_KEY] !== undefined) keys.push(MANIFEST_KEY);
  const dead: string[] = [];
  const objects = await mapLimited(keys, PARALLEL, async (key) => {
    const multipart = doc.multipart[key];
    if (multipart === undefined) {
      const place = { bucket: places(atOnce).bucket, prefix: atOnce.prefix };
      return objectProgress(doc, key, put.get(key), place);
    }
    const parts = await final.multipart.listParts(doc.prefix + key, multipart);
    if (parts !== undefined) return partsProgress(doc, key, parts);
    const size = joined.get(key);
    if (size === undefined) dead.push(key);
    return objectProgress(doc, key, size, { bucket: final.bucket, prefix: doc.prefix });
  });
  return { objects, dead };
}

/** Sizes of the objects below a prefix, by what follows it. */
export async function sizesBelow(place: Place, prefix: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for await (const object of place.bucket.list(prefix)) {
    sizes.set(object.key.slice(prefix.length), object.size);
  }
  return sizes;
}

function partsProgress(doc: UploadDoc, key: string, parts: readonly StoredPart[]): ObjectProgress {
  const size = plannedSize(doc.plan, key) ?? parts.reduce((sum, part) => sum + part.size, 0);
  // Parts of a store without checksums cannot be told from others and are sent again.
  const confirmed = parts.flatMap(({ part, size: bytes, crc32 }) =>
    crc32 === undefined ? [] : [{ part, size: bytes, crc32 }],
  );
  return { key, size, done: false, parts: confirmed };
}

async function objectProgress(
  doc: UploadDoc,
  key: string,
  storedSize: number | undefined,
  place: { readonly bucket: Bucket; readonly prefix: string },
): Promise<ObjectProgress> {
  const size = plannedSize(doc.plan, key) ?? storedSize ?? 0;
  if (storedSize !== size) return { key, size, done: false, parts: [] };
  const head = await place.bucket.head(place.prefix + key);
  // `…-N` is the checksum of a joined object's part checksums, which says nothing to the client.
  const crc32 = head?.crc32?.includes("-") === false ? head.crc32 : undefined;
  const done = head?.size === size;
  return { key, size, done, ...(crc32 === undefined ? {} : { crc32 }), parts: [] };
}

/** What a client is told of an upload, but for its objects. */
export function statusHead(doc: UploadDoc): Omit<UploadStatus, "objects"> {
  const expiresAt = doc.state === "completed" ? doc.record?.expiresAt : doc.expiresAt;
  return {
    upload: doc.upload,
    state: doc.state === "completed" ? "completed" : "open",
    name: doc.plan.name,
    ...(doc.record === undefined ? {} : { artifact: doc.record.artifact }),
    bytes: doc.plan.bytes,
    partBytes: doc.plan.partBytes,
    createdAt: doc.createdAt,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}

/** Every object of a completed upload is whole. */
export function completedObjects(doc: UploadDoc): ObjectProgress[] {
  return doc.plan.objects.map(({ key, size }) => ({ key, size, done: true, parts: [] }));
}

// What the store holds of an upload: the only account of progress there is (I2).
import {
  MANIFEST_KEY,
  type ObjectProgress,
  type UploadPlan,
  type UploadStatus,
} from "@waybill/sdk/protocol";
import type { Bucket } from "../bucket/bucket.ts";
import type { StoredPart } from "../bucket/multipart.ts";
import type { Place } from "../storage/storage.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import { type UploadDoc, placeAtOnce, plannedObject } from "./upload-doc.ts";

/** The bucket that `place` names. */
export type Places = (doc: Pick<UploadDoc, "place">) => Place;

export type StoreTruth = {
  readonly objects: ObjectProgress[];
  /** Keys whose recorded multipart upload is gone without an object: to be opened again. */
  readonly dead: string[];
};

/** Requests to the store at once for one status. */
const PARALLEL = 32;
/** Lists of parts that are read to say how much is stored of one upload. */
const MAX_COUNTED = 16;

/** An upload of which nothing is stored. */
export function nothingStored(doc: UploadDoc): ObjectProgress[] {
  return doc.plan.objects.map((object) => ({ ...object, done: false, parts: [] }));
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
    const place = { bucket: final.bucket, prefix: doc.prefix };
    const progress = await objectProgress(doc, key, joined.get(key), place);
    if (progress.storedBytes === undefined) dead.push(key);
    return progress;
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
  const reached = parts.reduce((sum, part) => sum + part.size, 0);
  // Parts of a store without checksums cannot be told from others and are sent again.
  const confirmed = parts.flatMap(({ part, size: bytes, crc32 }) =>
    crc32 === undefined ? [] : [{ part, size: bytes, crc32 }],
  );
  return { ...factsOf(doc, key, reached), done: false, parts: confirmed };
}

async function objectProgress(
  doc: UploadDoc,
  key: string,
  listedSize: number | undefined,
  place: { readonly bucket: Bucket; readonly prefix: string },
): Promise<ObjectProgress> {
  const nothing = { ...factsOf(doc, key, listedSize ?? 0), done: false, parts: [] };
  if (listedSize === undefined) return nothing;
  const head = await place.bucket.head(place.prefix + key);
  if (head === undefined || head.etag === doc.anew?.[key]) return nothing;
  const facts = factsOf(doc, key, head.size);
  // `…-N` is the checksum of a joined object's part checksums, which says nothing to the client.
  const crc32 = head.crc32?.includes("-") === false ? head.crc32 : undefined;
  return {
    ...facts,
    // What an encoded object's bytes should be is known with the manifest only.
    done: facts.encoding !== undefined || head.size === facts.size,
    storedBytes: head.size,
    etag: head.etag,
    ...(crc32 === undefined ? {} : { crc32 }),
    parts: [],
  };
}

/** Key, size and encoding as planned; the manifest has the bytes that are stored of it. */
function factsOf(doc: UploadDoc, key: string, storedBytes: number): UploadPlan["objects"][number] {
  return plannedObject(doc.plan, key) ?? { key, size: storedBytes };
}

/** Bytes in the store of an open upload; `undefined` when it would take many requests to know. */
export async function storedBytesOf(doc: UploadDoc, places: Places): Promise<number | undefined> {
  const joined = Object.entries(doc.multipart);
  if (joined.length > MAX_COUNTED) return undefined;
  const { multipart } = places(doc);
  const atOnce = placeAtOnce(doc);
  const [sizes, ...parts] = await Promise.all([
    sizesBelow(places(atOnce), atOnce.prefix),
    ...joined.map(([key, id]) => multipart.listParts(doc.prefix + key, id)),
  ]);
  const stored = parts.flatMap((listed) => listed ?? []).map(({ size }) => size);
  return [...sizes.values(), ...stored].reduce((sum, size) => sum + size, 0);
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
    layout: doc.plan.layout,
    shardBytes: doc.plan.shardBytes,
    unitBytes: doc.plan.unitBytes,
    ...(doc.equalParts === true
      ? { partRule: "equal", equalPartBytes: doc.plan.unitBytes }
      : { partRule: "any" }),
    createdAt: doc.createdAt,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}

/** Every object of a completed upload is whole. */
export function completedObjects(doc: UploadDoc): ObjectProgress[] {
  return doc.plan.objects.map((object) => ({ ...object, done: true, parts: [] }));
}

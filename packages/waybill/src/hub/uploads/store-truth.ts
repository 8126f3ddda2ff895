// What the store holds of an upload: the only account of progress there is (I2).
import { MANIFEST_KEY, type ObjectProgress, type UploadStatus } from "@waybill/sdk/protocol";
import type { StoredPart } from "../bucket/multipart.ts";
import type { Place } from "../storage/storage.ts";
import { mapLimited } from "./map-limited.ts";
import { type UploadDoc, isJoined, plannedSize } from "./upload-doc.ts";

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
export async function readTruth(doc: UploadDoc, place: Place): Promise<StoreTruth> {
  const stored = new Map<string, number>();
  for await (const object of place.bucket.list(doc.prefix)) {
    stored.set(object.key.slice(doc.prefix.length), object.size);
  }
  const keys = doc.plan.objects.map((object) => object.key);
  if (stored.has(MANIFEST_KEY) || doc.multipart[MANIFEST_KEY] !== undefined) {
    keys.push(MANIFEST_KEY);
  }
  const dead: string[] = [];
  const objects = await mapLimited(keys, PARALLEL, async (key) => {
    const multipart = doc.multipart[key];
    const parts =
      multipart === undefined
        ? undefined
        : await place.multipart.listParts(doc.prefix + key, multipart);
    if (parts !== undefined) return partsProgress(doc, key, parts);
    const size = stored.get(key);
    if (multipart !== undefined && size === undefined) dead.push(key);
    return objectProgress(doc, key, size, place);
  });
  return { objects, dead };
}

function partsProgress(doc: UploadDoc, key: string, parts: readonly StoredPart[]): ObjectProgress {
  const planned = plannedSize(doc.plan, key);
  const size = planned ?? parts.reduce((sum, part) => sum + part.size, 0);
  const first = parts[0];
  // A model's small object is one part that the client knows as an object put at once.
  if (planned !== undefined && planned <= doc.plan.partBytes && isJoined(doc.plan, planned)) {
    const crc32 = first?.size === planned ? first.crc32 : undefined;
    return crc32 === undefined
      ? { key, size, done: false, parts: [] }
      : { key, size, done: true, crc32, parts: [] };
  }
  const confirmed = parts.flatMap(({ part, size: bytes, crc32 }) =>
    crc32 === undefined ? [] : [{ part, size: bytes, crc32 }],
  );
  return { key, size, done: false, parts: confirmed };
}

async function objectProgress(
  doc: UploadDoc,
  key: string,
  storedSize: number | undefined,
  place: Place,
): Promise<ObjectProgress> {
  const size = plannedSize(doc.plan, key) ?? storedSize ?? 0;
  if (storedSize !== size) return { key, size, done: false, parts: [] };
  const head = await place.bucket.head(doc.prefix + key);
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

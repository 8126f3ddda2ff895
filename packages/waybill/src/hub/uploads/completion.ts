// Joining an upload: parts become objects, objects are counted, the manifest is read and its id computed
// again. Every step may be repeated after a crash; nothing is visible before the session document says
// `completed`.
import { decodeManifest, storedObjects } from "@waybill/sdk/artifact";
import {
  type ArtifactId,
  type ArtifactManifest,
  type ArtifactRecord,
  LIMITS,
  MANIFEST_KEY,
  type RouteBody,
  WaybillError,
} from "@waybill/sdk/protocol";
import { crc32 } from "node:zlib";
import type { StoredPart } from "../bucket/multipart.ts";
import type { Place } from "../storage/storage.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import { type Places, sizesBelow } from "./store-truth.ts";
import { type UploadDoc, isJoined, partCount, placeAtOnce, plannedSize } from "./upload-doc.ts";

export type Completion = RouteBody<"completeUpload">;

export type Joined = {
  readonly manifest: ArtifactManifest;
  readonly manifestBytes: number;
};

/** Requests to the store at once for one completion. */
const PARALLEL = 32;

/**
 * Makes the objects of an open upload whole and checks them against plan and manifest. Throws `conflict`
 * naming what is missing, `digest_mismatch` for parts or a manifest that are not what the client has.
 * Keys of objects that are whole but wrong are added to `spoiled`: they must be sent anew.
 */
export async function joinUpload(
  doc: UploadDoc,
  places: Places,
  completion: Completion,
  spoiled: Set<string>,
): Promise<Joined> {
  const place = places(doc);
  const crcs = new Map(completion.objects.map((object) => [object.key, object.parts]));
  const joined = Object.keys(doc.multipart);
  const [sizes] = await Promise.all([
    settleAtOnce(doc, places),
    mapLimited(joined, PARALLEL, (key) =>
      joinObject(doc, place, key, crcs.get(key) ?? [], spoiled),
    ),
  ]);
  const bytes = await storedManifest(doc, places, sizes.get(MANIFEST_KEY));
  try {
    const manifest = decodeManifest(new TextDecoder().decode(bytes), completion.artifact);
    checkObjects(doc, manifest);
    return { manifest, manifestBytes: bytes.length };
  } catch (error) {
    spoiled.add(MANIFEST_KEY);
    throw error;
  }
}

/** Counts the objects that were put at once, and copies a model's to their place; answers their sizes. */
async function settleAtOnce(doc: UploadDoc, places: Places): Promise<Map<string, number>> {
  const objects = doc.plan.objects.filter(({ size }) => !isJoined(doc.plan, size));
  const from = placeAtOnce(doc);
  const source = places(from);
  const copy = async () => {
    if (from === doc) return;
    const keys = objects.map((object) => object.key);
    if (doc.multipart[MANIFEST_KEY] === undefined) keys.push(MANIFEST_KEY);
    const { bucket } = places(doc);
    await mapLimited(keys, PARALLEL, async (key) => {
      const copied = await bucket.copyFrom(source.bucket, from.prefix + key, doc.prefix + key);
      if (!copied) throw incomplete(`object ${key} is not stored`);
    });
  };
  const [sizes] = await Promise.all([sizesBelow(source, from.prefix), copy()]);
  const missing = objects.filter(({ key, size }) => sizes.get(key) !== size);
  const first = missing[0];
  if (first === undefined) return sizes;
  const rest = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
  throw incomplete(`object ${first.key} (${first.size} bytes)${rest} is not stored`);
}

/** Joins one object's parts, unless an earlier completion has. */
async function joinObject(
  doc: UploadDoc,
  place: Place,
  key: string,
  crcs: readonly string[],
  spoiled: Set<string>,
): Promise<void> {
  const uploadId = doc.multipart[key] ?? "";
  const listed = await place.multipart.listParts(doc.prefix + key, uploadId);
  if (listed !== undefined) {
    const parts = wholeParts(doc, key, listed);
    checkCrcs(key, parts, crcs);
    const outcome = await place.multipart.complete(doc.prefix + key, uploadId, parts);
    if (outcome === "completed") return;
  }
  await checkJoinedBefore(doc, place, key, crcs, spoiled);
}

/** Parts 1 to n with the sizes they must have; the manifest's n is what is there. */
function wholeParts(doc: UploadDoc, key: string, listed: readonly StoredPart[]): StoredPart[] {
  const planned = plannedSize(doc.plan, key);
  const count = planned === undefined ? Math.max(1, listed.length) : partCount(doc.plan, planned);
  const byNumber = new Map(listed.map((part) => [part.part, part]));
  const parts: StoredPart[] = [];
  for (let number = 1; number <= count; number++) {
    const part = byNumber.get(number);
    const expected =
      planned === undefined
        ? part?.size
        : Math.min(doc.plan.partBytes, planned - (number - 1) * doc.plan.partBytes);
    if (part === undefined || part.size !== expected) {
      throw incomplete(`part ${number} of ${count} of ${key} is not stored`);
    }
    parts.push(part);
  }
  return parts;
}

function checkCrcs(key: string, parts: readonly StoredPart[], crcs: readonly string[]): void {
  if (crcs.length === 0) return;
  if (crcs.length !== parts.length) {
    throw incomplete(`${key} has ${parts.length} parts stored and ${crcs.length} parts given`);
  }
  for (const [at, part] of parts.entries()) {
    // A store without checksums leaves it to the readers, who verify every shard (I1).
    if (part.crc32 === undefined || part.crc32 === crcs[at]) continue;
    throw new WaybillError(
      "digest_mismatch",
      `part ${part.part} of ${key} is stored with another checksum than the file has now`,
      { hint: "the file changed while it was uploaded; push again" },
    );
  }
}

/** A completion that was cut off had joined this object, if it is there with the right size and checksum. */
async function checkJoinedBefore(
  doc: UploadDoc,
  place: Place,
  key: string,
  crcs: readonly string[],
  spoiled: Set<string>,
): Promise<void> {
  const head = await place.bucket.head(doc.prefix + key);
  const planned = plannedSize(doc.plan, key);
  if (head === undefined || (planned !== undefined && head.size !== planned)) {
    throw incomplete(`${key} is not stored, and its parts are gone`);
  }
  const wanted = crcs.length === 0 ? undefined : compositeCrc(crcs);
  if (wanted !== undefined && head.crc32?.includes("-") === true && head.crc32 !== wanted) {
    spoiled.add(key);
    throw new WaybillError(
      "digest_mismatch",
      `${key} is stored with another checksum than the file has now`,
      { hint: "the file changed while it was uploaded; push again" },
    );
  }
}

/** S3's composite checksum: the CRC-32 of the parts' CRC-32s, and how many. */
function compositeCrc(crcs: readonly string[]): string {
  const all = Buffer.concat(crcs.map((text) => Buffer.from(text, "base64")));
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(all));
  return `${checksum.toString("base64")}-${crcs.length}`;
}

async function storedManifest(
  doc: UploadDoc,
  places: Places,
  listedSize: number | undefined,
): Promise<Uint8Array> {
  const isMultipart = doc.multipart[MANIFEST_KEY] !== undefined;
  const at = isMultipart ? doc : placeAtOnce(doc);
  const { bucket } = places(at);
  const key = at.prefix + MANIFEST_KEY;
  const size = isMultipart ? (await bucket.head(key))?.size : listedSize;
  if (size === undefined) throw incomplete(`${MANIFEST_KEY} is not stored`);
  if (size > LIMITS.manifestBytes) {
    throw new WaybillError(
      "too_large",
      `${MANIFEST_KEY} has ${size} bytes; at most ${LIMITS.manifestBytes} are allowed`,
    );
  }
  const object = await bucket.get(key);
  if (object === undefined) throw incomplete(`${MANIFEST_KEY} is not stored`);
  return object.body;
}

/** The manifest's files are exactly what was uploaded. */
function checkObjects(doc: UploadDoc, manifest: ArtifactManifest): void {
  const { plan } = doc;
  if (manifest.layout !== plan.layout) {
    throw wrongManifest(`is ${manifest.layout}, the upload ${plan.layout}`);
  }
  const objects = storedObjects(manifest.layout, manifest.files);
  for (const { key, size } of objects) {
    if (plannedSize(plan, key) !== size) {
      throw wrongManifest(`names ${key} with ${size} bytes, which was not uploaded`);
    }
  }
  if (objects.length !== plan.objects.length) {
    throw wrongManifest(`names ${objects.length} objects, ${plan.objects.length} were uploaded`);
  }
}

/** The record of a joined upload. */
export function recordOf(
  doc: UploadDoc,
  bucket: string,
  artifact: ArtifactId,
  { manifest, manifestBytes }: Joined,
  times: { readonly nowMs: number; readonly expiresMs: number | undefined },
): ArtifactRecord {
  return {
    artifact,
    name: doc.plan.name,
    kind: doc.plan.purpose.kind,
    layout: manifest.layout,
    files: manifest.files.length,
    bytes: doc.plan.bytes,
    manifestBytes,
    s3Path: `${bucket}/${doc.prefix}`,
    createdAt: new Date(times.nowMs).toISOString(),
    ...(times.expiresMs === undefined
      ? {}
      : { expiresAt: new Date(times.expiresMs).toISOString() }),
  };
}

function incomplete(what: string): WaybillError {
  return new WaybillError("conflict", `the upload is not whole: ${what}`, {
    hint: "push again: only what is missing is sent",
  });
}

function wrongManifest(what: string): WaybillError {
  return new WaybillError("digest_mismatch", `the manifest ${what}`, {
    hint: "the tree changed while it was uploaded; push again",
  });
}

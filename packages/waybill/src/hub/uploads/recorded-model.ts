// A model that its job's worker has put into the object store by itself, because no hub could be reached (hub-api.md,
// "Models stored without a hub"). Each attempt has a folder of its own, so that a late one writes over nobody's bytes; the
// hub looks at what is there, and the folder of the attempt that is the job's now becomes the model's place.
import { decodeCrcs, decodeManifest, manifestObjects } from "@waybill/sdk/artifact";
import { crc32Combine } from "@waybill/sdk/delta";
import {
  type ArtifactManifest,
  ArtifactName,
  type ArtifactRecord,
  LIMITS,
  MANIFEST_KEY,
  type ModelId,
  type RoomId,
  type RouteBody,
  WaybillError,
  directModelPrefix,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import type { Caller } from "../http/handler.ts";
import type { Clock } from "../log.ts";
import type { Place } from "../storage/storage.ts";
import { changed } from "./joining.ts";
import type { ModelClaims, ModelPurpose } from "./model-claims.ts";
import { incomplete } from "./part-rule.ts";
import { sizesBelow } from "./store-truth.ts";
import { uploadIdOf } from "./upload-doc.ts";
import type { UploadRights } from "./upload-rights.ts";

export type RecordedModelDeps = {
  readonly rooms: Place;
  readonly records: ArtifactRecords;
  readonly claims: ModelClaims;
  readonly rights: UploadRights;
  readonly clock: Clock;
};

/** Objects looked at together. */
const PARALLEL = 32;

/**
 * Checks a filled folder and records it as the model's. Idempotent. Throws `stale_attempt`, `conflict` for what is missing or
 * when the model has its files already, `digest_mismatch` for what is not what the manifest says.
 */
export async function recordModel(
  deps: RecordedModelDeps,
  room: RoomId,
  model: ModelId,
  { artifact, modelType, job, attempt }: RouteBody<"recordModel">,
  caller: Caller,
): Promise<ArtifactRecord> {
  const { rooms, records, claims, rights, clock } = deps;
  const purpose: ModelPurpose = { kind: "model", model, modelType, job, attempt };
  await rights.assertMaySend(room, { purpose }, caller);
  const prefix = directModelPrefix({ room, model, modelType, attempt });
  const upload = uploadIdOf(room, prefix);
  const s3Path = `${rooms.bucket.name}/${prefix}`;
  const before = await claims.find(room, model);
  if (before?.record?.s3Path === s3Path && before.record.artifact === artifact) {
    await records.enter(room, before.record);
    return before.record;
  }
  const { manifest, manifestBytes } = await readStored(rooms, prefix, artifact);
  await checkObjects(rooms, prefix, manifest);
  const record: ArtifactRecord = {
    artifact,
    name: v.parse(ArtifactName, `${modelType}_${model}`),
    kind: "model",
    layout: manifest.layout,
    files: manifest.files.length,
    bytes: manifest.files.reduce((sum, { size }) => sum + size, 0),
    manifestBytes,
    s3Path,
    createdAt: new Date(clock()).toISOString(),
  };
  // Taken only now: what is not whole must keep no upload from the folder.
  await claims.take(room, purpose, upload);
  // The job may have passed to another while the objects were looked at (I11).
  await rights.assertMaySend(room, { purpose }, caller);
  await claims.close(room, purpose, upload, record);
  await records.enter(room, record);
  return record;
}

async function readStored(
  { bucket }: Place,
  prefix: string,
  artifact: ArtifactRecord["artifact"],
): Promise<{ readonly manifest: ArtifactManifest; readonly manifestBytes: number }> {
  const key = prefix + MANIFEST_KEY;
  const size = (await bucket.head(key))?.size;
  if (size !== undefined && size > LIMITS.manifestBytes) {
    throw new WaybillError("too_large", `${MANIFEST_KEY} has ${size} bytes`);
  }
  const object = size === undefined ? undefined : await bucket.get(key);
  if (object === undefined) throw incomplete(`${key} is not stored`);
  const manifest = decodeManifest(new TextDecoder().decode(object.body), artifact);
  return { manifest, manifestBytes: object.body.length };
}

/** Sizes of all, and the CRC-32 of those of which the store keeps one: readers verify every shard besides (I1). */
async function checkObjects(
  place: Place,
  prefix: string,
  manifest: ArtifactManifest,
): Promise<void> {
  const sizes = await sizesBelow(place, prefix);
  await mapLimited(manifestObjects(manifest), PARALLEL, async ({ key, storedBytes, encoding }) => {
    if (sizes.get(key) !== storedBytes) {
      throw incomplete(`object ${key} (${storedBytes} bytes) is not stored`);
    }
    const wanted = encoding === undefined ? wholeCrc(manifest, key) : undefined;
    if (wanted === undefined || storedBytes === 0) return;
    const head = await place.bucket.head(prefix + key);
    const crc32 = head?.crc32;
    if (crc32 === undefined || crc32.includes("-") || crc32 === wanted) return;
    throw changed(key);
  });
}

/** Base64 CRC-32 of an object, put together from those of its shards; `undefined` when the manifest has none. */
function wholeCrc(
  { files, layout, shardBytes }: ArtifactManifest,
  key: string,
): string | undefined {
  let sum = 0;
  for (const { path, size, crcs } of files) {
    if (layout === "plain" && path !== key) continue;
    if (size === 0) continue;
    if (crcs === undefined) return undefined;
    for (const [at, crc] of decodeCrcs(crcs).entries()) {
      sum = crc32Combine(sum, crc, Math.min(shardBytes, size - at * shardBytes));
    }
  }
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(sum >>> 0);
  return checksum.toString("base64");
}

// Sessions are forgotten a while after they end; what is kept stays. A push of the same tree then finds it
// by the manifest in its place, instead of writing over it.
import { artifactId, decodeManifest } from "@waybill/sdk/artifact";
import { type ArtifactRecord, MANIFEST_KEY } from "@waybill/sdk/protocol";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Place } from "../storage/storage.ts";
import type { UploadDoc } from "./upload-doc.ts";

/** The record of the kept dataset that an earlier session of this plan made. */
export async function keptBefore(
  doc: UploadDoc,
  place: Place,
  records: ArtifactRecords,
): Promise<ArtifactRecord | undefined> {
  const { purpose } = doc.plan;
  if (purpose.kind !== "dataset" || !purpose.keep) return undefined;
  const object = await place.bucket.get(doc.prefix + MANIFEST_KEY);
  if (object === undefined) return undefined;
  const manifest = decodeManifest(new TextDecoder().decode(object.body));
  const record = await records.find(doc.room, artifactId(manifest));
  return record?.s3Path === `${place.bucket.name}/${doc.prefix}` ? record : undefined;
}

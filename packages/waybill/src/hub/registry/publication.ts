// What must hold before a model enters the registry: its bytes are verified (I5), its id is reserved, and the
// publisher is the job's worker now (I11). docs/protocol/registry.md §5.
import {
  type ArtifactId,
  type ArtifactRecord,
  INTERRUPTED_TAG,
  LIMITS,
  MANIFEST_KEY,
  type ModelEntry,
  type ModelId,
  type ModelPublication,
  PACK_KEY,
  type RoomId,
  type Tag,
  WaybillError,
  datasetTag,
  decodeJson,
  isAutomaticTag,
} from "@waybill/sdk/protocol";
import { blake3Hex } from "@waybill/sdk/platform";
import { configText } from "@waybill/sdk/registry";
import * as v from "valibot";
import type { Bucket } from "../bucket/bucket.ts";
import type { Documents } from "../bucket/documents.ts";
import type { Caller } from "../http/handler.ts";
import { claimedJob } from "../jobs/fence.ts";
import { assertReserved } from "./model-ids.ts";

export type PublicationDeps = {
  readonly rooms: Bucket;
  readonly documents: Documents;
  /** Where the model's own bytes are: two models of equal content have a folder each. */
  readonly artifactRecord: (
    room: RoomId,
    artifact: ArtifactId,
    model: ModelId,
  ) => Promise<ArtifactRecord | undefined>;
};

/** The entry a publication makes. Throws `not_found`, `conflict`, `forbidden`, `stale_attempt`, `storage_failed`. */
export async function entryOfPublication(
  deps: PublicationDeps,
  room: RoomId,
  publication: ModelPublication,
  caller: Caller,
  nowMs: number,
): Promise<ModelEntry> {
  const { id, artifact, model_type, alias, tags, notes, pipeline, training } = publication;
  const [storage, worker] = await Promise.all([
    storedModel(deps, room, publication),
    publishingWorker(deps, room, publication, caller, nowMs),
    assertReserved(deps.documents, room, { id, modelType: model_type, job: training.job }),
  ]);
  const { attempt: _, ...told } = training;
  const config_digest = configDigest(training);
  return {
    id,
    ...(alias === undefined ? {} : { alias }),
    model_type,
    tags: [...tags.filter((tag) => !isAutomaticTag(tag)), ...automaticTags(training)],
    ...(pipeline === undefined ? {} : { pipeline }),
    ...(notes === undefined ? {} : { notes }),
    artifact,
    storage,
    training: {
      ...told,
      config_digest,
      trained_at: new Date(nowMs).toISOString(),
      ...(worker === undefined ? {} : { worker }),
    },
    availability: { in_s3: true, cached_on_workers: [] },
  };
}

/** BLAKE3 of the configuration's canonical JSON. Throws `invalid_request` when the publisher says another. */
function configDigest({ config, config_digest: told }: ModelPublication["training"]): string {
  const digest = blake3Hex(new TextEncoder().encode(configText(config)));
  if (told === undefined || told === digest) return digest;
  throw new WaybillError(
    "invalid_request",
    `the configuration's digest is ${digest.slice(0, 12)}…, not ${told.slice(0, 12)}…`,
    { hint: "it is the BLAKE3 of its canonical JSON (RFC 8785)" },
  );
}

/** What Waybill says of a model by itself; `best-of-sweep` is the registry's to give. */
function automaticTags({ dataset, stopped_early }: ModelPublication["training"]): Tag[] {
  return [
    ...(dataset === undefined ? [] : [datasetTag(dataset)]),
    ...(stopped_early === true ? [INTERRUPTED_TAG] : []),
  ];
}

async function storedModel(
  deps: PublicationDeps,
  room: RoomId,
  { artifact, id }: ModelPublication,
): Promise<ModelEntry["storage"]> {
  const record = await deps.artifactRecord(room, artifact, id);
  if (record === undefined || record.kind !== "model") {
    throw new WaybillError("not_found", `room ${room} holds no model artifact ${artifact}`, {
      hint: "complete its upload first",
    });
  }
  return {
    s3_path: record.s3Path,
    size_bytes: record.bytes,
    files: await objectsOf(deps.rooms, record),
  };
}

/** Only what the entry needs of a manifest, so that reading one costs little. */
const ManifestPaths = v.object({ files: v.array(v.object({ path: v.string() })) });

/** Objects below the artifact's place, but for its manifest. */
export async function objectsOf(rooms: Bucket, record: ArtifactRecord): Promise<string[]> {
  if (record.layout === "packed") return [PACK_KEY];
  const key = `${record.s3Path.slice(record.s3Path.indexOf("/") + 1)}${MANIFEST_KEY}`;
  const object = await rooms.get(key);
  if (object === undefined) {
    throw new WaybillError("not_found", `artifact ${record.artifact} has lost its manifest`, {
      hint: "push it again",
    });
  }
  const text = new TextDecoder().decode(object.body);
  const manifest = decodeJson(ManifestPaths, text, key, LIMITS.manifestBytes);
  return manifest.files.map((file) => file.path);
}

/** The worker that publishes for its job; `undefined` when people publish without one. */
async function publishingWorker(
  deps: PublicationDeps,
  room: RoomId,
  { training }: ModelPublication,
  caller: Caller,
  nowMs: number,
): Promise<ModelEntry["training"]["worker"]> {
  const { job, attempt } = training;
  if (caller.role !== "worker") {
    if (job === undefined) return undefined;
    throw new WaybillError("forbidden", `only its worker can publish for job ${job}`);
  }
  if (job === undefined || attempt === undefined) {
    throw new WaybillError("forbidden", "a worker publishes for a job: name it and its attempt");
  }
  return (await claimedJob(deps.documents, { room, job, attempt, caller }, nowMs)).worker;
}

// A room that holds many models, put into the store as an older hub would have left it, and models that wait to be published:
// their bytes and records are there, their ids are not yet taken.
import { PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { createHash } from "node:crypto";
import type { ModelEntry, ModelPublication, RoomId } from "@waybill/sdk/protocol";

export const MODEL_TYPE = "centroid" as ModelEntry["model_type"];
const BUCKET = "waybill-rooms";
const PARALLEL = 32;

const digestOf = (text: string) => createHash("sha256").update(text).digest("hex");

/** The lineage, configuration and curves that a SLEAP run leaves: about 1.3 KB. */
function trainingOf(index: number): Omit<ModelEntry["training"], "trained_at"> {
  return {
    dataset: digestOf("flies") as ModelEntry["artifact"],
    run_name: `run ${index}`,
    trained_by: "ada",
    metrics: {
      val_loss: 0.1 + index / 1e5,
      train_loss: 0.2,
      curve: Array.from({ length: 20 }, (_, i) => 1 / (i + 1)),
    },
    config: {
      lr: 1e-3,
      batch: 4,
      optimizer: "adam",
      augment: { rotate: [-180, 180], scale: [0.9, 1.1] },
      backbone: { unet: { filters: 32, rate: 1.5, max_stride: 16, output_stride: 2 } },
    },
  };
}

function entryOf(room: RoomId, index: number): ModelEntry {
  const artifact = digestOf(`model ${index}`) as ModelEntry["artifact"];
  // A counter, so that no two share it; publications have ids of their own.
  const id = (0xf0000000 + index).toString(16) as ModelEntry["id"];
  return {
    id,
    model_type: MODEL_TYPE,
    tags: ["dataset-ab12cd34", index % 3 === 0 ? "validated" : "raw"] as ModelEntry["tags"],
    artifact,
    storage: {
      s3_path: `${BUCKET}/${room}/models/${MODEL_TYPE}_${id}/`,
      size_bytes: 100_000_000,
      files: ["best.h5", "training_config.json", "labels.slp", "log.csv"],
    },
    training: {
      ...trainingOf(index),
      trained_at: new Date(Date.UTC(2026, 0, 1) + index * 60_000).toISOString(),
    },
    availability: { in_s3: true, cached_on_workers: [] },
  };
}

const put = (s3: S3Client, Key: string, doc: unknown) =>
  s3.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: JSON.stringify(doc) }));

/** Stores a registry of `count` models, each with an alias; answers its size in bytes. */
export async function fillRegistry(s3: S3Client, room: RoomId, count: number): Promise<number> {
  const entries = Array.from({ length: count }, (_, i) => entryOf(room, i));
  const when = "2026-01-01T00:00:00.000Z";
  const registry = {
    format: 1,
    room,
    models: Object.fromEntries(entries.map((entry) => [entry.id, entry])),
    aliases: Object.fromEntries(entries.map(({ id }, i) => [`alias-${i}`, id])),
    protected_aliases: [],
    alias_history: entries.map(({ id }, i) => ({ alias: `alias-${i}`, to: id, who: "ada", when })),
  };
  await put(s3, `${room}/manifest.json`, registry);
  return JSON.stringify(registry).length;
}

export type Waiting = {
  readonly digest: string;
  readonly publication: Omit<ModelPublication, "id">;
};

/** Models whose upload is complete, as far as the hub's records say. */
export async function uploadModels(
  s3: S3Client,
  room: RoomId,
  count: number,
  batch: string,
): Promise<Waiting[]> {
  const waiting = Array.from({ length: count }, (_, i): Waiting => {
    const digest = digestOf(`${batch} ${i}`);
    const artifact = digestOf(`artifact of ${batch} ${i}`) as ModelEntry["artifact"];
    const alias = `${batch}-${i}` as NonNullable<ModelPublication["alias"]>;
    const publication = {
      artifact,
      model_type: MODEL_TYPE,
      alias,
      tags: [],
      training: trainingOf(i),
    };
    return { digest, publication };
  });
  const rest = [...waiting];
  const store = async () => {
    for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
      const { artifact } = next.publication;
      const folder = `${room}/models/${MODEL_TYPE}_${next.digest.slice(0, 8)}/`;
      await put(s3, `${folder}artifact.json`, { files: [{ path: "best.h5" }] });
      await put(s3, `${room}/artifacts/${artifact}.json`, {
        artifact,
        name: "model",
        kind: "model",
        layout: "plain",
        files: 1,
        bytes: 1,
        manifestBytes: 30,
        s3Path: `${BUCKET}/${folder}`,
        createdAt: new Date().toISOString(),
      });
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, store));
  return waiting;
}

/** What is asked of a registry, ours or a peer's. */
export type RegistryClient = {
  resolve: (index: number) => Promise<unknown>;
  /** The newest 50 models. */
  list: () => Promise<unknown>;
  publish: (waiting: Waiting) => Promise<unknown>;
  /** Of the server's process, from the last call on. */
  figures: () => Promise<{ cpuSeconds: number; peakRssBytes: number; loopMaxMs: number }>;
};

import {
  type Alias,
  type ArtifactId,
  JobDoc,
  type JobId,
  type ModelId,
  type ModelPublication,
  type ModelType,
  type Tag,
} from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { Documents } from "../bucket/documents.ts";
import { MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB, callOf, callerOf, workerIdOf } from "../jobs/call.fixture.ts";
import { jobKey } from "../jobs/job-keys.ts";
import type { ModelPublished } from "@waybill/sdk/registry";
import { createRegistryArea } from "./registry-area.ts";
import { registryKey } from "./room-registry.ts";

const NOW_MS = Date.parse("2026-01-02T03:04:05.678Z");
const JOB = "j_0123456789abcdef" as JobId;
const DATASET = "ab12cd34".repeat(8) as ArtifactId;
const worker = callerOf("worker", "desk");
const artifactOf = (id: string) => id.padEnd(64, "0") as ArtifactId;
const typed = (text: string) => text as ModelType;

/** A hub with a job of worker `desk`, whose models' bytes are verified but for those that are `missing`. */
async function setUp(missing: readonly string[] = []) {
  const rooms = new MemoryBucket({});
  const documents = new Documents({ bucket: rooms, sleep: async () => {} });
  const announced: ModelPublished[] = [];
  const { handlers } = createRegistryArea({
    rooms,
    documents,
    clock: () => NOW_MS,
    announce: (_, message) => announced.push(message),
    artifactRecord: async (_, artifact, id) => {
      if (missing.includes(id)) return undefined;
      const s3Path = `memory/lab/models/${id}/`;
      const createdAt = new Date(NOW_MS).toISOString();
      const name = "model" as never;
      const facts = { files: 1, bytes: 5, manifestBytes: 10, s3Path, createdAt };
      return { artifact, name, kind: "model", layout: "packed", ...facts };
    },
  });
  await documents.create(JobDoc, jobKey(LAB, JOB), {
    job: JOB,
    room: LAB,
    spec: {
      command: ["true"],
      config: {},
      env: {},
      modelType: typed("topdown"),
      tags: [],
      requirements: {},
    },
    state: "running",
    submittedBy: "ada",
    submittedAt: new Date(NOW_MS).toISOString(),
    attempt: 1,
    worker: workerIdOf("desk"),
    leaseUntil: new Date(NOW_MS + 60_000).toISOString(),
    seqReserved: 100_002,
  });
  const ids: ModelId[] = [];
  for (const [i, modelType] of ["centroid", "centered_instance", "topdown"].entries()) {
    const body = { digest: `${i}`.repeat(64), owner: JOB, modelType: typed(modelType) };
    ids.push((await handlers.reserveModel(callOf(worker, { body }))).model);
  }
  return { ...handlers, rooms, documents, announced, ids: ids as [ModelId, ModelId, ModelId] };
}

const publication = (
  id: ModelId,
  type: string,
  over: Partial<ModelPublication> = {},
): ModelPublication => ({
  id,
  artifact: artifactOf(id),
  model_type: typed(type),
  tags: [],
  training: { job: JOB, attempt: 1, trained_by: "ada", metrics: {}, config: {} },
  ...over,
});

const topdownOf = ([centroid, instance, topdown]: readonly [ModelId, ModelId, ModelId]) => [
  publication(centroid, "centroid"),
  publication(instance, "centered_instance"),
  publication(topdown, "topdown", {
    pipeline: {
      parts: [
        { model_type: typed("centroid"), model: centroid },
        { model_type: typed("centered_instance"), model: instance },
      ],
    },
  }),
];

describe("publishing a pipeline", () => {
  it("costs one PUT of the registry, and tells the room of every model once", async () => {
    const hub = await setUp();
    const models = topdownOf(hub.ids);
    const answer = await hub.publishModels(callOf(worker, { body: { models } }));
    expect(answer.models.map(({ model_type }) => model_type)).toEqual([
      "centroid",
      "centered_instance",
      "topdown",
    ]);
    const stored = await hub.readRegistry(callOf(worker));
    expect(stored.models[hub.ids[2]]).toEqual(answer.models[2]);
    const etag = (await hub.rooms.head(registryKey(LAB)))?.etag;
    expect(await hub.publishModels(callOf(worker, { body: { models } }))).toEqual(answer);
    expect((await hub.rooms.head(registryKey(LAB)))?.etag).toBe(etag);
    expect(hub.announced.map(({ model, modelType }) => [model, modelType])).toEqual([
      [hub.ids[0], "centroid"],
      [hub.ids[1], "centered_instance"],
      [hub.ids[2], "topdown"],
    ]);
    expect(hub.announced[2]).toMatchObject({ job: JOB, worker: workerIdOf("desk"), bytes: 5 });
  });

  it("needs the verified bytes of all of it (I5), and enters nothing otherwise", async () => {
    const hub = await setUp(["11111111"]);
    const body = { models: topdownOf(hub.ids) };
    await expect(hub.publishModels(callOf(worker, { body }))).rejects.toMatchObject({
      code: "not_found",
    });
    expect((await hub.readRegistry(callOf(worker))).models).toEqual({});
    expect(hub.announced).toEqual([]);
  });

  it("is for the worker of the job's current attempt only (I11)", async () => {
    const hub = await setUp();
    await hub.documents.update(JobDoc, jobKey(LAB, JOB), (doc) => ({
      ...(doc as JobDoc),
      attempt: 2,
    }));
    const body = { models: topdownOf(hub.ids) };
    await expect(hub.publishModels(callOf(worker, { body }))).rejects.toMatchObject({
      code: "stale_attempt",
    });
  });
});

describe("publishing for a job with a protected alias", () => {
  const prod = "prod" as Alias;
  const publishing = async (submitterRole: "owner" | "member") => {
    const hub = await setUp();
    await hub.documents.update(JobDoc, jobKey(LAB, JOB), (doc) => ({
      ...(doc as JobDoc),
      submitterRole,
    }));
    const body = { protected: true };
    await hub.protectAlias(callOf(callerOf("owner"), { params: { alias: prod }, body }));
    const [id] = hub.ids;
    const model = publication(id, "centroid", { alias: prod });
    return { hub, done: hub.publishModel(callOf(worker, { body: model })) };
  };

  it("moves it when the owner submitted the job, and says for whom", async () => {
    const { hub, done } = await publishing("owner");
    expect((await done).alias).toBe(prod);
    const { moves } = await hub.aliasHistory(callOf(worker, { params: { alias: prod } }));
    expect(moves[0]).toMatchObject({ who: worker.subject, by: "ada", why: "published" });
  });

  it("is refused when anybody else did", async () => {
    const { done } = await publishing("member");
    await expect(done).rejects.toMatchObject({ code: "forbidden" });
  });
});

describe("automatic tags", () => {
  it("say what a model was trained on and that its training was stopped; others do not give them", async () => {
    const hub = await setUp();
    const [id] = hub.ids;
    const tags = ["mine", "best-of-sweep", "dataset-00000000"] as Tag[];
    const { training } = publication(id, "centroid");
    const told = { ...training, dataset: DATASET, stopped_early: true };
    const body = publication(id, "centroid", { tags, training: told });
    const entry = await hub.publishModel(callOf(worker, { body }));
    expect(entry.tags).toEqual(["mine", "dataset-ab12cd34", "interrupted"]);
    const edit = { params: { model: id }, body: { add: ["interrupted" as Tag], remove: [] } };
    await expect(hub.editTags(callOf(callerOf("member"), edit))).rejects.toThrow(
      /by Waybill itself/,
    );
  });
});

import {
  type Alias,
  type ArtifactId,
  type ArtifactRecord,
  JobDoc,
  type JobId,
  type ModelId,
  type ModelPublication,
  type ModelType,
  Registry,
  type Tag,
} from "@waybill/sdk/protocol";
import { blake3Hex } from "@waybill/sdk/platform";
import { emptyRegistry } from "@waybill/sdk/registry";
import { describe, expect, it } from "vitest";
import { Documents } from "../bucket/documents.ts";
import { type BucketOperation, MemoryBucket } from "../bucket/memory-bucket.ts";
import { LAB, callOf, callerOf, workerIdOf } from "../jobs/call.fixture.ts";
import { jobKey } from "../jobs/job-keys.ts";
import type { ModelPublished } from "@waybill/sdk/registry";
import { createRegistryArea } from "./registry-area.ts";
import { registryKey } from "./room-registry.ts";

const NOW_MS = Date.parse("2026-01-02T03:04:05.678Z");
const UNET = "unet" as ModelType;
const JOB = "j_0123456789abcdef" as JobId;
const member = callerOf("member");
const owner = callerOf("owner");
const worker = callerOf("worker", "desk");

const artifactOf = (id: string) => id.padEnd(64, "0") as ArtifactId;

function setUp(
  before: (operation: BucketOperation, key: string) => void | Promise<void> = () => {},
) {
  const rooms = new MemoryBucket({ before });
  const records = new Map<ArtifactId, ArtifactRecord>();
  const announced: ModelPublished[] = [];
  const hub = () => {
    const documents = new Documents({ bucket: rooms, sleep: async () => {} });
    const area = createRegistryArea({
      rooms,
      documents,
      clock: () => NOW_MS,
      announce: (_, message) => announced.push(message),
      artifactRecord: async (_, artifact) => records.get(artifact),
    });
    return { documents, ...area.handlers };
  };
  const hold = async (id: string, over: Partial<ArtifactRecord> = {}) => {
    const artifact = artifactOf(id);
    const prefix = `lab/models/unet_${id}/`;
    await rooms.put(`${prefix}artifact.json`, JSON.stringify({ files: [{ path: "model.bin" }] }));
    records.set(artifact, {
      artifact,
      name: "model" as ArtifactRecord["name"],
      kind: "model",
      layout: "plain",
      files: 1,
      bytes: 5,
      manifestBytes: 10,
      s3Path: `memory/${prefix}`,
      createdAt: new Date(NOW_MS).toISOString(),
      ...over,
    });
  };
  return { rooms, hub, hold, announced };
}

type Hub = ReturnType<ReturnType<typeof setUp>["hub"]>;

const publication = (id: string, over: Partial<ModelPublication> = {}): ModelPublication => ({
  id: id as ModelId,
  artifact: artifactOf(id),
  model_type: UNET,
  tags: [],
  training: { trained_by: "ada", metrics: { loss: 0.1 }, config: {} },
  ...over,
});

const reserve = async (hub: Hub, digest: string, by = "push") =>
  (
    await hub.reserveModel(
      callOf(member, { body: { digest: digest.padEnd(64, "0"), owner: by, modelType: UNET } }),
    )
  ).model;

const publish = (hub: Hub, body: ModelPublication, caller = member) =>
  hub.publishModel(callOf(caller, { body }));

const jobDoc = (over: Partial<JobDoc> = {}): JobDoc => ({
  job: JOB,
  room: LAB,
  spec: {
    command: ["true"],
    config: {},
    env: {},
    modelType: UNET,
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
  ...over,
});

describe("model ids", () => {
  it("are 8 digits, the same for the same owner, longer for another", async () => {
    const hub = setUp().hub();
    const digest = "abcdef0123456789";
    expect(await reserve(hub, digest, "a")).toBe("abcdef01");
    expect(await reserve(hub, digest, "a")).toBe("abcdef01");
    expect(await reserve(hub, digest, "b")).toBe("abcdef0123");
    expect(await reserve(hub, "abcdef01999999", "c")).toBe("abcdef0199");
    expect(await reserve(hub, digest, "b")).toBe("abcdef0123");
  });

  it("are given to one of two hubs that race", async () => {
    const { hub } = setUp();
    const ids = await Promise.all(
      Array.from({ length: 8 }, (_, i) => reserve(hub(), "ab".repeat(16), `owner-${i}`)),
    );
    expect(new Set(ids).size).toBe(8);
  });
});

describe("publishing", () => {
  it("enters the model with its place, size and files, and points alias and latest at it", async () => {
    const { hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const id = await reserve(hub, "aaaaaaaa");
    await hold(id);
    const entry = await publish(
      hub,
      publication(id, { alias: "prod" as Alias, tags: ["x" as Tag] }),
    );
    expect(entry).toMatchObject({
      id,
      alias: "prod",
      tags: ["x"],
      storage: { s3_path: `memory/lab/models/unet_${id}/`, size_bytes: 5, files: ["model.bin"] },
      training: { trained_at: "2026-01-02T03:04:05.678Z", metrics: { loss: 0.1 } },
      availability: { in_s3: true },
    });
    for (const model of [id, "prod", "latest-unet"]) {
      const shown = await hub.showModel(callOf(member, { params: { model } }));
      expect(shown).toEqual({ model: entry, aliases: ["latest-unet", "prod"] });
    }
  });

  it("keeps what the model was made of, and computes the digest of its configuration", async () => {
    const { hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const id = await reserve(hub, "aaaaaaaa");
    await hold(id);
    const told = {
      trained_by: "ada",
      metrics: {},
      config: { lr: 0.1, seed: 3 },
      code: artifactOf("cccccccc"),
      run_name: "run-1",
      seed: 3,
    };
    const wrong = publication(id, { training: { ...told, config_digest: "0".repeat(64) } });
    await expect(publish(hub, wrong)).rejects.toMatchObject({ code: "invalid_request" });
    const { training } = await publish(hub, publication(id, { training: told }));
    const text = new TextEncoder().encode('{"lr":0.1,"seed":3}');
    expect(training).toMatchObject({ ...told, config_digest: blake3Hex(text) });
  });

  it("costs one PUT once the room has a registry, and no GET of it", async () => {
    const operations: string[] = [];
    const { hub: makeHub, hold } = setUp((operation, key) => {
      if (key.endsWith("manifest.json")) operations.push(operation);
    });
    const hub = makeHub();
    for (const digest of ["aaaaaaaa", "bbbbbbbb"]) {
      const id = await reserve(hub, digest);
      await hold(id);
      operations.length = 0;
      await publish(hub, publication(id));
    }
    expect(operations).toEqual(["put"]);
  });

  it("needs verified bytes, of a model (I5)", async () => {
    const { hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const id = await reserve(hub, "aaaaaaaa");
    await expect(publish(hub, publication(id))).rejects.toMatchObject({ code: "not_found" });
    await hold(id, { kind: "dataset" });
    await expect(publish(hub, publication(id))).rejects.toMatchObject({ code: "not_found" });
    expect((await hub.readRegistry(callOf(member))).models).toEqual({});
  });

  it("needs a reserved id of the same type and owner", async () => {
    const { hub: makeHub, hold } = setUp();
    const hub = makeHub();
    await hold("cccccccc");
    await expect(publish(hub, publication("cccccccc"))).rejects.toThrow(/not reserved/);
    const id = await reserve(hub, "aaaaaaaa");
    await hold(id);
    const llm = publication(id, { model_type: "llm" as ModelType });
    await expect(publish(hub, llm)).rejects.toThrow(/reserved for a unet/);
    const jobs = await reserve(hub, "bbbbbbbb", JOB);
    await hold(jobs);
    await expect(publish(hub, publication(jobs))).rejects.toThrow(/reserved for job/);
  });

  it("changes nothing the second time, and refuses another artifact", async () => {
    const { rooms, hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const id = await reserve(hub, "aaaaaaaa");
    await hold(id);
    await hold("dddddddd");
    const first = await publish(hub, publication(id));
    const etag = (await rooms.head(registryKey(LAB)))?.etag;
    expect(await publish(hub, publication(id, { alias: "late" as Alias }))).toEqual(first);
    expect((await rooms.head(registryKey(LAB)))?.etag).toBe(etag);
    const other = publication(id, { artifact: artifactOf("dddddddd") });
    await expect(publish(hub, other)).rejects.toMatchObject({ code: "conflict" });
  });

  it("is for the worker of the job's current attempt only (I11)", async () => {
    const { hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const id = await reserve(hub, "aaaaaaaa", JOB);
    await hold(id);
    const forJob = (attempt: number) =>
      publication(id, {
        training: { job: JOB, attempt, trained_by: "ada", metrics: {}, config: {} },
      });
    const stale = { code: "stale_attempt" };
    await hub.documents.create(JobDoc, jobKey(LAB, JOB), jobDoc({ attempt: 2 }));
    await expect(publish(hub, forJob(1), worker)).rejects.toMatchObject(stale);
    await expect(publish(hub, forJob(2), callerOf("worker", "pod"))).rejects.toMatchObject(stale);
    await expect(publish(hub, forJob(2))).rejects.toMatchObject({ code: "forbidden" });
    await expect(publish(hub, publication(id), worker)).rejects.toMatchObject({
      code: "forbidden",
    });
    const entry = await publish(hub, forJob(2), worker);
    expect(entry.training).toMatchObject({ job: JOB, worker: workerIdOf("desk") });
    expect(entry.training).not.toHaveProperty("attempt");
  });

  it("gives a job one model, whatever attempts bring after it was published (I5)", async () => {
    const { rooms, hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const ids = [await reserve(hub, "aaaaaaaa", JOB), await reserve(hub, "bbbbbbbb", JOB)] as const;
    for (const id of ids) await hold(id);
    await hub.documents.create(JobDoc, jobKey(LAB, JOB), jobDoc({ attempt: 3 }));
    const training = { job: JOB, attempt: 3, trained_by: "ada", metrics: {}, config: {} };
    const first = await publish(hub, publication(ids[0], { training }), worker);
    const etag = (await rooms.head(registryKey(LAB)))?.etag;
    expect(await publish(hub, publication(ids[1], { training }), worker)).toEqual(first);
    const other = publication(ids[0], { training, artifact: artifactOf(ids[1]) });
    expect(await publish(hub, other, worker)).toEqual(first);
    expect((await rooms.head(registryKey(LAB)))?.etag).toBe(etag);
  });

  it("asks the store when a remembered lease has run out", async () => {
    const { hub: makeHub, hold } = setUp();
    const [mine, other] = [makeHub(), makeHub()];
    const id = await reserve(mine, "aaaaaaaa", JOB);
    await hold(id);
    const leaseUntil = new Date(NOW_MS - 1).toISOString();
    await mine.documents.create(JobDoc, jobKey(LAB, JOB), jobDoc({ leaseUntil }));
    await other.documents.update(JobDoc, jobKey(LAB, JOB), () => jobDoc({ state: "failed" }));
    const forJob = publication(id, {
      training: { job: JOB, attempt: 1, trained_by: "ada", metrics: {}, config: {} },
    });
    await expect(publish(mine, forJob, worker)).rejects.toThrow(/has ended/);
  });

  it("leaves protected aliases to the owner and writes nothing otherwise", async () => {
    const { hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const prod = "prod" as Alias;
    await hub.documents.create(Registry, registryKey(LAB), {
      ...emptyRegistry(LAB),
      protected_aliases: [prod],
    });
    const id = await reserve(hub, "aaaaaaaa");
    await hold(id);
    const refused = publish(hub, publication(id, { alias: prod }));
    await expect(refused).rejects.toMatchObject({ code: "forbidden" });
    expect((await hub.readRegistry(callOf(member))).models).toEqual({});
    expect((await publish(hub, publication(id, { alias: prod }), owner)).alias).toBe("prod");
  });

  it("loses none of 32 publishers on two hubs that race (I4)", async () => {
    let puts = 0;
    const { hub: makeHub, hold } = setUp(async (operation, key) => {
      if (operation === "put" && key.endsWith("manifest.json")) puts += 1;
      // Lets the hubs' operations interleave.
      await new Promise(setImmediate);
    });
    const hubs = [makeHub(), makeHub()] as const;
    const ids = await Promise.all(
      Array.from({ length: 32 }, async (_, i) => {
        const id = await reserve(hubs[0], (0xa0000000 + i).toString(16));
        await hold(id);
        return id;
      }),
    );
    await Promise.all(
      ids.map((id, i) =>
        publish(hubs[i % 2 === 0 ? 0 : 1], publication(id, { alias: `alias-${i}` as Alias })),
      ),
    );
    const registry = await makeHub().readRegistry(callOf(member));
    expect(Object.keys(registry.models).sort()).toEqual(ids.toSorted());
    expect(Object.keys(registry.aliases)).toHaveLength(33);
    expect(registry.alias_history).toHaveLength(32);
    expect(puts).toBeLessThan(32);
  });
});

describe("aliases and tags", () => {
  it("are moved, removed and edited under the caller's name", async () => {
    const { hub: makeHub, hold } = setUp();
    const hub = makeHub();
    const id = await reserve(hub, "aaaaaaaa");
    await hold(id);
    await publish(hub, publication(id));
    const best = "best" as Alias;
    const moved = await hub.setAlias(
      callOf(member, { params: { alias: best }, body: { model: "latest-unet", why: "it is" } }),
    );
    expect(moved).toEqual({ alias: "best", model: id });
    const edit = { add: ["good" as Tag], remove: [] };
    const tagged = await hub.editTags(callOf(member, { params: { model: "best" }, body: edit }));
    expect(tagged.tags).toEqual(["good"]);
    await hub.removeAlias(callOf(owner, { params: { alias: best } }));
    const { alias_history: history } = await hub.readRegistry(callOf(member));
    expect(history.map(({ who, to }) => [who, to])).toEqual([
      [member.subject, id],
      [owner.subject, undefined],
    ]);
  });
});

import { JobDoc, type JobId, type JobState } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { thumbprintOf } from "../access/proof.ts";
import { type Member, TestHub } from "../hub.fixture.ts";
import { jobKey } from "../jobs/job-keys.ts";
import { peerIdOf } from "../signaling/peer-id.ts";
import { type PushOptions, planOf, push, reserve, tinyTree } from "./push.fixture.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const JOB = "j_0000000000000001" as JobId;
const OTHER_JOB = "j_0000000000000002" as JobId;
const ID = "00c0ffee";
const tree = tinyTree({ "model.bin": "weights" });

async function setUp() {
  const hub = new TestHub({ clock: () => NOW_MS });
  const { client: owner, room } = await hub.createRoom("lab");
  const [worker, stranger, member] = await Promise.all([
    hub.join(owner, room, "worker"),
    hub.join(owner, room, "worker"),
    hub.join(owner, room, "member"),
  ]);
  const give = async (job: JobId, to: Member, attempt: number, state: JobState = "running") => {
    const now = new Date(NOW_MS).toISOString();
    const doc = v.parse(JobDoc, {
      job,
      room,
      spec: { command: ["train"], modelType: "net" },
      state,
      submittedBy: "a",
      submittedAt: now,
      attempt,
      worker: peerIdOf(await thumbprintOf(to.identity.publicKey), "w1"),
      leaseUntil: new Date(NOW_MS + 60_000).toISOString(),
      seqReserved: 100_000,
    });
    await hub.storage.rooms.bucket.put(jobKey(room, job), JSON.stringify(doc));
  };
  await give(JOB, worker, 1);
  await give(OTHER_JOB, stranger, 1);
  const begin = ({ client }: Pick<Member, "client">, options: PushOptions) =>
    client.call("beginUpload", { params: { room }, body: planOf(tree, options) });
  return { hub, room, owner, worker, stranger, member, give, begin };
}

const modelOf = (job?: JobId, attempt?: number, model = ID) => ({
  purpose: {
    kind: "model" as const,
    model,
    modelType: "net",
    ...(job === undefined ? {} : { job }),
    ...(attempt === undefined ? {} : { attempt }),
  },
});

const forbidden = { code: "forbidden" };
const stale = { code: "stale_attempt" };

describe("a worker", () => {
  it("pushes the model of its job", async () => {
    const { hub, room, worker } = await setUp();
    await reserve(worker.client, room, ID, JOB);
    const { record } = await push(worker.client, hub.storage, room, tree, modelOf(JOB, 1));
    expect(record).toMatchObject({ kind: "model", s3Path: `rooms/lab/models/net_${ID}/` });
  });

  it("pushes nothing else: no data set, no model without a job, none of another's job", async () => {
    const { room, worker, stranger, begin } = await setUp();
    await reserve(worker.client, room, ID, JOB);
    await expect(begin(worker, {})).rejects.toMatchObject(forbidden);
    const kept = { purpose: { kind: "dataset", keep: true } } as const;
    await expect(begin(worker, kept)).rejects.toMatchObject(forbidden);
    await expect(begin(worker, modelOf())).rejects.toMatchObject(forbidden);
    await expect(begin(worker, modelOf(JOB))).rejects.toMatchObject(forbidden);
    await expect(begin(worker, modelOf(JOB, 2))).rejects.toMatchObject(stale);
    await expect(begin(stranger, modelOf(JOB, 1))).rejects.toMatchObject(stale);
  });

  it("reserves ids for the job it has, and for no other", async () => {
    const { room, worker } = await setUp();
    const taking = (owner: string) => reserve(worker.client, room, ID, owner);
    await expect(taking("push")).rejects.toMatchObject(forbidden);
    await expect(taking(OTHER_JOB)).rejects.toMatchObject(stale);
    expect(await taking(JOB)).toBe(ID);
  });

  it("may not fill the folder of a model that is not its job's", async () => {
    const { room, owner, worker, stranger, begin } = await setUp();
    await reserve(owner, room, ID);
    await expect(begin(worker, modelOf(JOB, 1))).rejects.toMatchObject({ code: "conflict" });
    const theirs = await reserve(stranger.client, room, "11c0ffee", OTHER_JOB);
    const wrong = modelOf(JOB, 1, theirs);
    await expect(begin(worker, wrong)).rejects.toMatchObject({ code: "conflict" });
    const unknown = modelOf(JOB, 1, "22c0ffee");
    await expect(begin(worker, unknown)).rejects.toMatchObject({ code: "not_found" });
  });

  it("neither sees nor touches the uploads of others", async () => {
    const { room, worker, stranger, member, begin } = await setUp();
    await reserve(worker.client, room, ID, JOB);
    const datasets = await begin(member, {});
    const models = await begin(worker, modelOf(JOB, 1));
    const part = { key: "model.bin", part: 0, size: 7, crc32: "AAAAAA==" };
    const complete = { artifact: "0".repeat(64), objects: [] };
    for (const [upload, refusal] of [
      [datasets.status.upload, forbidden],
      [models.status.upload, stale],
    ] as const) {
      const params = { room, upload };
      const { client } = stranger;
      await expect(client.call("showUpload", { params })).rejects.toMatchObject(refusal);
      await expect(
        client.call("signParts", { params, body: { parts: [part] } }),
      ).rejects.toMatchObject(refusal);
      await expect(client.call("completeUpload", { params, body: complete })).rejects.toMatchObject(
        refusal,
      );
      await expect(client.call("abortUpload", { params })).rejects.toMatchObject(refusal);
      expect(await member.client.call("showUpload", { params })).toMatchObject({ state: "open" });
    }
    const own = { room, upload: models.status.upload };
    await worker.client.call("abortUpload", { params: own });
    await worker.client.call("abortUpload", { params: own });
  });

  it("is not let into a member's session by its fingerprint", async () => {
    const { room, worker, member, begin } = await setUp();
    await reserve(worker.client, room, ID, JOB);
    await begin(member, {});
    const { fingerprint } = planOf(tree, {});
    const body = { ...planOf(tree, modelOf(JOB, 1)), fingerprint };
    await expect(
      worker.client.call("beginUpload", { params: { room }, body }),
    ).rejects.toMatchObject({ code: "conflict" });
  });

  it("signs no more once its attempt is over (I11)", async () => {
    const { hub, room, worker, stranger, give, begin } = await setUp();
    await reserve(worker.client, room, ID, JOB);
    const { status } = await begin(worker, modelOf(JOB, 1));
    await give(JOB, stranger, 2);
    // Another hub, which remembers nothing of the first attempt.
    const second = new TestHub({ storage: hub.storage, clock: () => NOW_MS });
    const { client } = await second.member(worker.token, worker.identity);
    const params = { room, upload: status.upload };
    const part = { key: "model.bin", part: 0, size: 7, crc32: "AAAAAA==" };
    await expect(
      client.call("signParts", { params, body: { parts: [part] } }),
    ).rejects.toMatchObject(stale);
  });
});

describe("people", () => {
  it("push models under ids they reserved, of the type they reserved them for", async () => {
    const { hub, room, worker, member, begin } = await setUp();
    await expect(begin(member, modelOf())).rejects.toMatchObject({ code: "not_found" });
    await reserve(member.client, room, ID);
    const { purpose } = modelOf();
    const other = { purpose: { ...purpose, modelType: "llm" } };
    await expect(begin(member, other)).rejects.toMatchObject({ code: "conflict" });
    expect((await push(member.client, hub.storage, room, tree, modelOf())).record.kind).toBe(
      "model",
    );
    const jobs = await reserve(worker.client, room, "11c0ffee", JOB);
    const taken = modelOf(undefined, undefined, jobs);
    await expect(begin(member, taken)).rejects.toMatchObject({ code: "conflict" });
    await expect(begin(member, modelOf(JOB, 1, jobs))).rejects.toMatchObject(stale);
  });

  it("may give a worker's upload up", async () => {
    const { room, worker, member, begin } = await setUp();
    await reserve(worker.client, room, ID, JOB);
    const { status } = await begin(worker, modelOf(JOB, 1));
    const params = { room, upload: status.upload };
    expect(await member.client.call("abortUpload", { params })).toEqual({ ok: true });
  });
});

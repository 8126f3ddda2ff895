import { JobDoc, type JobId, type JobState } from "@waybill/sdk/protocol";
import { beforeEach, describe, expect, it } from "vitest";
import * as v from "valibot";
import { thumbprintOf } from "../access/proof.ts";
import { type Member, TestHub } from "../hub.fixture.ts";
import { jobKey } from "../jobs/job-keys.ts";
import { peerIdOf } from "../signaling/peer-id.ts";
import { type Tree, crcOf, planOf, push, tinyTree } from "./push.fixture.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const DAY_MS = 86_400_000;
const JOB = "j_0000000000000001" as JobId;
const OTHER_JOB = "j_0000000000000002" as JobId;
const at = (n: number): Tree => tinyTree({ "ckpt.bin": `weights of epoch ${n}` });
const forbidden = { code: "forbidden" };
const stale = { code: "stale_attempt" };

let nowMs: number;
let hub: TestHub;
let owner: Member;
let room: Awaited<ReturnType<TestHub["createRoom"]>>["room"];
let [worker, stranger, member, viewer]: Member[] = [];

const its = (one: Member | undefined): Member => {
  if (one === undefined) throw new Error("nobody");
  return one;
};
const calls = (one: Member | undefined) => its(one).client;

async function give(job: JobId, to: Member | undefined, over: Partial<JobDoc> = {}) {
  const key = jobKey(room, job);
  const known = await hub.storage.rooms.bucket.get(key);
  const before = known === undefined ? {} : JSON.parse(new TextDecoder().decode(known.body));
  const doc = v.parse(JobDoc, {
    job,
    room,
    spec: { command: ["train"], modelType: "net" },
    state: "running" satisfies JobState,
    submittedBy: "a",
    submittedAt: new Date(nowMs).toISOString(),
    attempt: 1,
    worker: peerIdOf(await thumbprintOf(its(to).identity.publicKey), "w1"),
    leaseUntil: new Date(nowMs + 60_000).toISOString(),
    seqReserved: 100_000,
    ...before,
    ...over,
  });
  await hub.storage.rooms.bucket.put(key, JSON.stringify(doc));
}

/** Uploads a checkpoint and answers its record. */
async function upload(tree: Tree, by = worker, job = JOB, attempt = 1) {
  nowMs += 1000;
  const purpose = { kind: "checkpoint", job, attempt } as const;
  const salt = new TextDecoder().decode(tree.get("ckpt.bin"));
  const options = { purpose, name: "checkpoint", salt };
  return (await push(calls(by), hub.storage, room, tree, options)).record;
}

const record = async (tree: Tree, epoch: number, by = worker, job = JOB, attempt = 1) => {
  const { artifact } = await upload(tree, by, job, attempt);
  const body = { attempt, artifact, data: { epoch } };
  return calls(by).call("recordCheckpoint", { params: { room, job }, body });
};

const stored = async (job = JOB) => {
  const found = hub.storage.rooms.bucket.list(`${room}/jobs/${job}/checkpoints/`);
  const keys = await Array.fromAsync(found, ({ key }) => key);
  return new Set(keys.map((key) => key.split("/")[4])).size;
};
const read = (by: Member | undefined, artifact: string) => {
  const params = { room, artifact };
  return calls(by).call("signReads", { params, body: { keys: ["ckpt.bin"] } });
};

beforeEach(async () => {
  nowMs = NOW_MS;
  hub = new TestHub({ clock: () => nowMs });
  const made = await hub.createRoom("lab");
  owner = made;
  ({ room } = made);
  const roles = ["worker", "worker", "member", "viewer"] as const;
  [worker, stranger, member, viewer] = await Promise.all(
    roles.map((role) => hub.join(owner.client, room, role)),
  );
  await give(JOB, worker);
  await give(OTHER_JOB, stranger);
});

describe("a checkpoint", () => {
  it("is uploaded by the worker of that attempt, and by nobody else", async () => {
    const { s3Path, kind } = await upload(at(1));
    expect(kind).toBe("checkpoint");
    expect(s3Path).toMatch(new RegExp(`^rooms/lab/jobs/${JOB}/checkpoints/u_[0-9a-f]{24}/$`));
    await expect(upload(at(2), stranger)).rejects.toMatchObject(stale);
    await expect(upload(at(2), worker, JOB, 2)).rejects.toMatchObject(stale);
    await expect(upload(at(2), member)).rejects.toMatchObject(forbidden);
    await expect(upload(at(2), owner)).rejects.toMatchObject(forbidden);
  });

  it("is in no list and has no name, but members and its job's worker read it by its id", async () => {
    const { artifact } = await upload(at(1));
    const { artifacts } = await owner.client.call("listArtifacts", { params: { room } });
    expect(artifacts).toEqual([]);
    const resolve = (ref: string) =>
      calls(member).call("resolveArtifact", { params: { room, ref } });
    for (const ref of ["checkpoint", artifact.slice(0, 12)]) {
      await expect(resolve(ref)).rejects.toMatchObject({ code: "not_found" });
    }
    expect(await resolve(artifact)).toMatchObject({ artifact, kind: "checkpoint" });
    for (const one of [owner, member, worker])
      expect((await read(one, artifact)).reads).toHaveLength(1);
    for (const one of [stranger, viewer]) {
      await expect(read(one, artifact)).rejects.toMatchObject(forbidden);
    }
    await give(JOB, stranger, {
      attempt: 2,
      worker: peerIdOf(await thumbprintOf(its(stranger).identity.publicKey), "w1"),
    });
    nowMs += 60_000;
    expect((await read(stranger, artifact)).reads).toHaveLength(1);
    await expect(read(worker, artifact)).rejects.toMatchObject(forbidden);
  });

  it("becomes the resume point when the room holds it whole for this job", async () => {
    const data = { epoch: 3 };
    const name = (artifact: string, by = worker, attempt = 1) =>
      calls(by).call("recordCheckpoint", {
        params: { room, job: JOB },
        body: { attempt, artifact, data },
      });
    await expect(name("c".repeat(64))).rejects.toMatchObject({ code: "conflict" });
    const other = await upload(at(9), stranger, OTHER_JOB);
    await expect(name(other.artifact)).rejects.toMatchObject({ code: "conflict" });
    const { artifact, bytes } = await upload(at(3));
    await expect(name(artifact, stranger)).rejects.toMatchObject(stale);
    await expect(name(artifact, worker, 2)).rejects.toMatchObject(stale);
    const { resume } = await name(artifact);
    expect(resume).toMatchObject({ artifact, bytes, attempt: 1, data });
    nowMs += 5000;
    expect(await name(artifact)).toEqual({ resume });
    const doc = await owner.client.call("showJob", { params: { room, job: JOB } });
    expect(doc.resume).toEqual(resume);
  });

  it("that is older than the two last recorded is removed", async () => {
    for (const n of [1, 2, 3, 4]) await record(at(n), n);
    await expect.poll(() => stored()).toBe(2);
    const unrecorded = await upload(at(5));
    await record(at(4), 4);
    expect((await read(worker, unrecorded.artifact)).reads).toHaveLength(1);
  });

  it("of another job that is the same stays when one job needs it no more", async () => {
    await record(at(1), 1);
    await record(at(1), 1, stranger, OTHER_JOB);
    for (const n of [2, 3]) await record(at(n), n);
    await expect.poll(() => stored()).toBe(2);
    expect(await stored(OTHER_JOB)).toBe(1);
    const { resume } = await owner.client.call("showJob", { params: { room, job: OTHER_JOB } });
    const { reads } = await read(stranger, resume?.artifact ?? "");
    expect(reads[0]?.url).toContain(OTHER_JOB);
  });

  it("outlives its upload's time while its job is not over, and a week when it failed", async () => {
    await record(at(1), 1);
    nowMs += 3 * DAY_MS;
    await hub.areas.sweep();
    expect(await stored()).toBe(1);
    await give(JOB, worker, { state: "failed", endedAt: new Date(nowMs).toISOString() });
    nowMs += 6 * DAY_MS;
    await hub.areas.sweep();
    expect(await stored()).toBe(1);
    nowMs += 2 * DAY_MS;
    await hub.areas.sweep();
    expect(await stored()).toBe(0);
  });

  it("gives its bytes to no other job's worker", async () => {
    const { artifact, bytes } = await upload(at(1));
    const begin = async (by: Member | undefined, job: JobId) => {
      const purpose = { kind: "checkpoint", job, attempt: 1 } as const;
      const body = planOf(at(1), { purpose, salt: "delta" });
      const { status } = await calls(by).call("beginUpload", { params: { room }, body });
      const [weights] = at(1).values();
      const crc32 = crcOf(weights ?? new Uint8Array());
      const from = { artifact, key: "ckpt.bin", start: 0 };
      const copies = [{ key: "ckpt.bin", part: 0, size: bytes, crc32, from }];
      const params = { room, upload: status.upload };
      return (await calls(by).call("copyParts", { params, body: { copies } })).copied;
    };
    expect(await begin(stranger, OTHER_JOB)).toMatchObject([
      { copied: false, reason: expect.stringContaining("holds no artifact") },
    ]);
    expect(await begin(worker, JOB)).toMatchObject([{ copied: true }]);
  });

  it("that was removed leaves nothing behind, though a body came late", async () => {
    const { bucket } = hub.storage.rooms;
    const { s3Path } = await upload(at(1));
    await record(at(1), 1);
    for (const n of [2, 3]) await record(at(n), n);
    await expect.poll(() => stored()).toBe(2);
    await bucket.put(`${s3Path.slice("rooms/".length)}ckpt.bin`, "late");
    expect(await stored()).toBe(3);
    await give(JOB, worker, { state: "completed", endedAt: new Date(nowMs).toISOString() });
    await hub.areas.sweep();
    expect(await stored()).toBe(0);
  });

  it("goes with its record when its job is completed, be its session there or not", async () => {
    const { resume } = await record(at(1), 1);
    await record(at(2), 2);
    const sessions = hub.storage.uploads.bucket.list(`${room}/sessions/`);
    const [first] = await Array.fromAsync(sessions, ({ key }) => key);
    await hub.storage.uploads.bucket.delete([first ?? ""]);
    await give(JOB, worker, { state: "completed", endedAt: new Date(nowMs).toISOString() });
    await hub.areas.sweep();
    expect(await stored()).toBe(0);
    await expect(read(member, resume.artifact)).rejects.toMatchObject({ code: "not_found" });
  });
});

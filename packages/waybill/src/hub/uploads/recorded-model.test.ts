// Models that a worker has put into the store by itself (docs/protocol/hub-api.md §3).
import { artifactId, encodeCrcs, manifestPieces } from "@waybill/sdk/artifact";
import { type ArtifactManifest, JobDoc, type JobId, MANIFEST_KEY } from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { crc32 } from "node:zlib";
import { thumbprintOf } from "../access/proof.ts";
import { type Member, TestHub } from "../hub.fixture.ts";
import { jobKey } from "../jobs/job-keys.ts";
import { peerIdOf } from "../signaling/peer-id.ts";
import { manifestOf, push, reserve, tinyTree } from "./push.fixture.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const JOB = "j_0000000000000001" as JobId;
const ID = "00c0ffee";
const tree = tinyTree({ "model.bin": "weights", "more/x": "y" });
const manifest: ArtifactManifest = (() => {
  const plain = manifestOf(tree);
  const files = plain.files.map((file) => ({
    ...file,
    crcs: encodeCrcs([crc32(tree.get(file.path) ?? "")]),
  }));
  return { ...plain, files };
})();
const artifact = artifactId(manifest);

async function setUp() {
  const time = { nowMs: NOW_MS };
  const hub = new TestHub({ clock: () => time.nowMs });
  const { client: owner, room } = await hub.createRoom("lab");
  const [worker, stranger] = await Promise.all([
    hub.join(owner, room, "worker"),
    hub.join(owner, room, "worker"),
  ]);
  const give = async (to: Member, attempt: number) => {
    const now = new Date(NOW_MS).toISOString();
    const doc = v.parse(JobDoc, {
      job: JOB,
      room,
      spec: { command: ["train"], modelType: "net" },
      state: "running",
      submittedBy: "a",
      submittedAt: now,
      attempt,
      worker: peerIdOf(await thumbprintOf(to.identity.publicKey), "w1"),
      leaseUntil: new Date(time.nowMs + 60_000).toISOString(),
      seqReserved: 100_000,
    });
    await hub.storage.rooms.bucket.put(jobKey(room, JOB), JSON.stringify(doc));
  };
  await give(worker, 1);
  await reserve(worker.client, room, ID, JOB);
  /** Fills an attempt's folder as a worker does. */
  const fill = async (attempt: number, bodies: ReadonlyMap<string, Uint8Array> = tree) => {
    const prefix = `lab/models/net_${ID}.${attempt}/`;
    for (const [key, body] of bodies) await hub.storage.rooms.bucket.put(prefix + key, body);
    const text = Buffer.concat([...manifestPieces(manifest)]);
    await hub.storage.rooms.bucket.put(prefix + MANIFEST_KEY, text);
  };
  const record = ({ client }: Pick<Member, "client">, attempt: number) =>
    client.call("recordModel", {
      params: { room, model: ID },
      body: { artifact, modelType: "net", job: JOB, attempt },
    });
  const publish = ({ client }: Pick<Member, "client">, attempt: number) =>
    client.call("publishModel", {
      params: { room },
      body: {
        id: ID,
        artifact,
        model_type: "net",
        tags: [],
        training: { job: JOB, attempt, trained_by: "a", metrics: {}, config: {} },
      },
    });
  return { time, hub, room, worker, stranger, give, fill, record, publish };
}

describe("a model that its worker stored without a hub", () => {
  it("is recorded where it lies, and published as any other", async () => {
    const { worker, fill, record, publish } = await setUp();
    await fill(1);
    const told = await record(worker, 1);
    expect(told).toMatchObject({
      kind: "model",
      artifact,
      files: 2,
      bytes: 8,
      s3Path: `rooms/lab/models/net_${ID}.1/`,
    });
    expect(await record(worker, 1)).toEqual(told);
    expect((await publish(worker, 1)).storage).toMatchObject({
      s3_path: `rooms/lab/models/net_${ID}.1/`,
      files: ["model.bin", "more/x"],
    });
  });

  it.each([
    [
      "an object is missing",
      new Map([["model.bin", new TextEncoder().encode("weights")]]),
      "conflict",
    ],
    ["an object has another size", tinyTree({ "model.bin": "weight", "more/x": "y" }), "conflict"],
    [
      "an object has other bytes",
      tinyTree({ "model.bin": "weighty", "more/x": "y" }),
      "digest_mismatch",
    ],
  ])("is refused when %s, and recorded once that is mended", async (_, bodies, code) => {
    const { worker, fill, record } = await setUp();
    await fill(1, bodies);
    await expect(record(worker, 1)).rejects.toMatchObject({ code });
    await fill(1);
    expect((await record(worker, 1)).artifact).toBe(artifact);
  });

  it("is refused without a manifest, to another worker, and for an id of no reservation", async () => {
    const { worker, stranger, room, fill, record } = await setUp();
    await expect(record(worker, 1)).rejects.toMatchObject({ code: "conflict" });
    await fill(1);
    await expect(record(stranger, 1)).rejects.toMatchObject({ code: "stale_attempt" });
    const body = { artifact, modelType: "net", job: JOB, attempt: 1 };
    const other = { params: { room, model: "11c0ffee" }, body };
    await expect(worker.client.call("recordModel", other)).rejects.toMatchObject({
      code: "not_found",
    });
  });

  it("of an attempt that is over is never recorded, and changes nothing of the newer one's (I11)", async () => {
    const { time, hub, room, worker, stranger, give, fill, record, publish } = await setUp();
    await fill(1);
    time.nowMs += 60_000;
    await give(stranger, 2);
    await expect(record(worker, 1)).rejects.toMatchObject({ code: "stale_attempt" });
    const purpose = { kind: "model", model: ID, modelType: "net", job: JOB, attempt: 2 } as const;
    const pushed = await push(stranger.client, hub.storage, room, tree, { purpose });
    await fill(1, tinyTree({ "model.bin": "late!!!", "more/x": "z" }));
    await expect(record(worker, 1)).rejects.toMatchObject({ code: "stale_attempt" });
    expect((await publish(stranger, 2)).storage.s3_path).toBe(pushed.record.s3Path);
    const place = `lab/models/net_${ID}/model.bin`;
    expect(new TextDecoder().decode(hub.storage.rooms.bucket.peek(place))).toBe("weights");
  });

  it("takes the folder over from an upload of its own that the hub's absence cut off", async () => {
    const { hub, room, worker, fill, record } = await setUp();
    const purpose = { kind: "model", model: ID, modelType: "net", job: JOB, attempt: 1 } as const;
    const cut = push(worker.client, hub.storage, room, tree, {
      purpose,
      beforePut: () => {
        throw new Error("the hub is gone");
      },
    });
    await expect(cut).rejects.toThrow(/the hub is gone/);
    await fill(1);
    expect((await record(worker, 1)).s3Path).toBe(`rooms/lab/models/net_${ID}.1/`);
    await expect(push(worker.client, hub.storage, room, tree, { purpose })).rejects.toMatchObject({
      code: "conflict",
    });
  });
});

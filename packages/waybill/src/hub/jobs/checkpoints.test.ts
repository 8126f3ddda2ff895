import type { ArtifactId, ArtifactRecord } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { callOf } from "./call.fixture.ts";
import {
  START_MS,
  ToldWorker,
  createWorld,
  jobIdAt,
  numbered,
  publishFor,
  show,
  submit,
  until,
} from "./job-hub.fixture.ts";

const JOB = jobIdAt(1);
const params = { job: JOB };

const checkpointAt = (n: number): ArtifactRecord =>
  ({
    artifact: String(n).repeat(64) as ArtifactId,
    kind: "checkpoint",
    bytes: n,
    s3Path: `rooms/lab/jobs/${JOB}/checkpoints/u_${n}/`,
    createdAt: new Date(START_MS + n).toISOString(),
  }) as ArtifactRecord;

type Gate = (operation: string, key: string) => Promise<void> | void;

async function running() {
  const gate: { before: Gate } = { before: () => {} };
  const world = createWorld({ before: (operation, key) => gate.before(operation, key) });
  const { hub: makeHub, checkpoints, checkpointFiles: files, pass } = world;
  const removing: { before: (record: ArtifactRecord) => Promise<void> } = {
    before: async () => {},
  };
  const hub = makeHub({
    checkpoints: {
      ...files,
      remove: async (room, record) => {
        await removing.before(record);
        await files.remove(room, record);
      },
    },
  });
  const worker = new ToldWorker("desk");
  hub.peers.join(worker);
  await submit(hub, JOB);
  const [offer] = await until(() => {
    expect(worker.offers).toHaveLength(1);
    return worker.offers;
  });
  hub.peers.hear(worker, { type: "job.accept", job: JOB, attempt: 1 });
  const upload = (n: number) => {
    const one = checkpointAt(n);
    if (!checkpoints.some(({ artifact }) => artifact === one.artifact)) checkpoints.push(one);
    return one;
  };
  const record = (n: number, { at = hub, counted = false } = {}) => {
    const { artifact } = upload(n);
    const count = counted ? { n } : {};
    const body = { attempt: 1, artifact, data: { epoch: n }, ...count };
    return at.recordCheckpoint(callOf(worker.caller, { params, body }));
  };
  const end = (state: "completed" | "interrupted", more: object = {}) => {
    const events = numbered(offer?.firstSeq ?? 0, 1, [{ type: "state", state }]);
    return hub.endJob(
      callOf(worker.caller, { params, body: { attempt: 1, state, events, ...more } }),
    );
  };
  return { hub, makeHub, checkpoints, pass, upload, record, end, gate, removing };
}

/** Holds up the next operation that `fits`. */
function heldUp(gate: { before: Gate }, fits: (operation: string, key: string) => boolean) {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  gate.before = async (operation, key) => {
    if (!fits(operation, key)) return;
    gate.before = () => {};
    reached.resolve();
    await released.promise;
  };
  return { reached: reached.promise, release: () => released.resolve() };
}

it("the newest checkpoint is where the next attempt begins", async () => {
  const { hub, record, end } = await running();
  await record(1);
  await record(2);
  expect(await end("interrupted")).toMatchObject({ state: "queued", resume: { bytes: 2 } });
  const pod = new ToldWorker("pod");
  hub.peers.join(pod);
  await until(() => expect(pod.offers).toMatchObject([{ attempt: 2, resume: { bytes: 2 } }]));
});

it("the last two are kept while a job runs, none when it is completed", async () => {
  const { hub, checkpoints, record, end } = await running();
  for (const n of [1, 2, 3]) await record(n);
  await until(() => expect(checkpoints.map(({ bytes }) => bytes)).toEqual([2, 3]));
  const model = await publishFor(hub, JOB);
  await end("completed", { model });
  await until(() => expect(checkpoints).toEqual([]));
  expect(await show(hub, JOB)).toMatchObject({ state: "completed", resume: { bytes: 3 } });
});

it("recording one again changes nothing", async () => {
  const { hub, record, pass } = await running();
  const first = await record(1);
  pass(1000);
  expect(await record(1)).toEqual(first);
  expect((await show(hub, JOB)).resume).toEqual(first.resume);
});

describe("a checkpoint whose recording is held up at one hub while others are recorded at another", () => {
  for (const counted of [true, false]) {
    it(`is not where the next attempt begins${counted ? "" : ", though its worker counts none"}`, async () => {
      const { hub, makeHub, record, gate, checkpoints } = await running();
      const other = makeHub();
      const held = heldUp(
        gate,
        (operation, key) => operation === "put" && key.endsWith("job.json"),
      );
      const late = record(1, { at: other, counted });
      await held.reached;
      for (const n of [1, 2, 3]) await record(n, { counted });
      await until(() => expect(checkpoints.map(({ bytes }) => bytes)).toEqual([2, 3]));
      held.release();
      await expect(late).rejects.toMatchObject({ code: "conflict" });
      expect(await show(hub, JOB)).toMatchObject({ resume: { bytes: 3 } });
    });
  }
});

describe("a checkpoint that is recorded again while it is to be removed", () => {
  const held = async (bytes: number) => {
    const job = await running();
    const released = Promise.withResolvers<void>();
    job.removing.before = async (record) => {
      if (record.bytes === bytes) await released.promise;
    };
    return { ...job, release: () => released.resolve() };
  };

  it("stays", async () => {
    const { hub, checkpoints, upload, record, release } = await held(0);
    upload(0);
    for (const n of [1, 2, 3, 1]) await record(n);
    release();
    await until(() => expect(checkpoints.map(({ bytes }) => bytes)).toEqual([1, 3]));
    expect(await show(hub, JOB)).toMatchObject({ resume: { bytes: 1 } });
  });

  it("is not where the next attempt begins when it has gone", async () => {
    const { hub, checkpoints, upload, record, release } = await held(1);
    upload(1);
    for (const n of [2, 1]) await record(n);
    release();
    await until(async () => expect((await show(hub, JOB)).resume).toMatchObject({ bytes: 2 }));
    expect(checkpoints.map(({ bytes }) => bytes)).toEqual([2]);
  });
});

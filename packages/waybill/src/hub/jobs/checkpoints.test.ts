import type { ArtifactId, ArtifactRecord } from "@waybill/sdk/protocol";
import { expect, it } from "vitest";
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

async function running() {
  const { hub: makeHub, checkpoints, pass } = createWorld();
  const hub = makeHub();
  const worker = new ToldWorker("desk");
  hub.peers.join(worker);
  await submit(hub, JOB);
  const [offer] = await until(() => {
    expect(worker.offers).toHaveLength(1);
    return worker.offers;
  });
  hub.peers.hear(worker, { type: "job.accept", job: JOB, attempt: 1 });
  const record = (n: number) => {
    const one = checkpointAt(n);
    if (!checkpoints.some(({ artifact }) => artifact === one.artifact)) checkpoints.push(one);
    const body = { attempt: 1, artifact: one.artifact, data: { epoch: n } };
    return hub.recordCheckpoint(callOf(worker.caller, { params, body }));
  };
  const end = (state: "completed" | "interrupted", more: object = {}) => {
    const events = numbered(offer?.firstSeq ?? 0, 1, [{ type: "state", state }]);
    return hub.endJob(
      callOf(worker.caller, { params, body: { attempt: 1, state, events, ...more } }),
    );
  };
  return { hub, checkpoints, pass, record, end };
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

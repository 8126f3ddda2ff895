import type { ArtifactId, JobSpec, ModelId, WorkerMode } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { callOf, callerOf, workerIdOf } from "./call.fixture.ts";
import {
  type TestHub,
  ToldWorker,
  createWorld,
  jobIdAt,
  member,
  running,
  show,
  specOf,
  submit,
  until,
} from "./job-hub.fixture.ts";

const JOB = jobIdAt(1);

const setMode = (
  hub: TestHub,
  worker: ToldWorker,
  body: Pick<WorkerMode, "mode" | "for" | "note">,
) => hub.setWorkerMode(callOf(member, { params: { worker: worker.workerId }, body }));
const list = async (hub: TestHub) => (await hub.listWorkers(callOf(member))).workers;
const offers = (worker: ToldWorker, count: number) =>
  until(() => expect(worker.offers).toHaveLength(count));

describe("a worker's mode", () => {
  it("is told to the worker and to everybody, with who set it and when", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    const { mode } = await setMode(hub, worker, { mode: "maintenance", note: "new disk" });
    expect(mode).toMatchObject({ mode: "maintenance", by: "member memberxx" });
    expect(mode.since).toMatch(/^2026-/);
    await until(() => expect(worker.all("worker.mode")).toEqual([{ type: "worker.mode", mode }]));
    expect(await list(hub)).toMatchObject([{ workerId: worker.workerId, mode }]);
  });

  it("is remembered across hubs, and told to a worker that comes back", async () => {
    const { hub: makeHub } = createWorld();
    const before = makeHub();
    const worker = new ToldWorker("desk");
    before.peers.join(worker);
    await setMode(before, worker, { mode: "drain" });
    await before.stop();
    worker.told.length = 0;
    const hub = makeHub();
    hub.peers.join(worker);
    await until(() =>
      expect(worker.all("worker.mode")).toMatchObject([{ mode: { mode: "drain" } }]),
    );
    await submit(hub, JOB);
    expect((await show(hub, JOB)).reason).toMatch(/desk is being drained/);
    expect(worker.offers).toEqual([]);
    await setMode(hub, worker, { mode: "active" });
    await offers(worker, 1);
  });

  it("lets it finish what it has", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk", { slots: 2 });
    await running(hub, JOB, worker);
    await setMode(hub, worker, { mode: "drain" });
    await submit(hub, jobIdAt(2));
    expect(await list(hub)).toMatchObject([{ jobs: [JOB] }]);
    await hub.stop();
    expect(worker.all("job.revoke")).toEqual([]);
    expect(worker.offers).toHaveLength(1);
  });

  it("may reserve it for one person", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    const key = callerOf("member", "bo").subject.slice(0, 8);
    await setMode(hub, worker, { mode: "reserved", for: key });
    await submit(hub, JOB);
    expect((await show(hub, JOB)).reason).toContain(`desk is reserved for ${key}`);
    await submit(hub, jobIdAt(2), {}, callerOf("member", "bo"));
    await until(() => expect(worker.offers).toMatchObject([{ job: jobIdAt(2) }]));
  });

  it.each([
    ["reserved without a name", { mode: "reserved" }],
    ["drained for somebody", { mode: "drain", for: "ada" }],
  ] as const)("cannot be %s", async (_, mode) => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await expect(setMode(hub, worker, mode)).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("is set for workers that are here or were given one before", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    const drain = { mode: "drain" } as const;
    await expect(setMode(hub, worker, drain)).rejects.toMatchObject({ code: "not_found" });
    hub.peers.join(worker);
    await setMode(hub, worker, drain);
    hub.peers.leave(worker);
    expect((await setMode(hub, worker, { mode: "active" })).mode.mode).toBe("active");
  });
});

describe("sharing workers", () => {
  it("gives the next free slot to whoever has fewer jobs running", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    const bo = callerOf("member", "bo");
    for (let n = 1; n <= 3; n++) {
      await submit(hub, jobIdAt(n));
      pass(1);
    }
    await submit(hub, jobIdAt(4), {}, bo);
    const worker = new ToldWorker("desk", { slots: 2 });
    hub.peers.join(worker);
    await offers(worker, 2);
    expect(new Set(worker.offers.map(({ job }) => job))).toEqual(new Set([jobIdAt(1), jobIdAt(4)]));
  });

  it("prefers the worker that holds the data set", async () => {
    const dataset = "d".repeat(64) as ArtifactId;
    const { hub: makeHub, records } = createWorld();
    records.set(dataset, { artifact: dataset } as never);
    const hub = makeHub();
    const [desk, pod] = [new ToldWorker("desk"), new ToldWorker("pod")];
    if (pod.peer.worker !== undefined) pod.peer.worker.cached = [dataset];
    hub.peers.join(desk);
    hub.peers.join(pod);
    await until(async () => expect(await list(hub)).toHaveLength(2));
    await submit(hub, JOB, { dataset });
    await offers(pod, 1);
    expect(desk.offers).toEqual([]);
    expect(await show(hub, JOB)).toMatchObject({ worker: workerIdOf("pod") });
    expect((await list(hub)).map(({ cached }) => cached)).toEqual([undefined, [dataset]]);
  });
});

it("a check says where a job would wait, and stores nothing", async () => {
  const { hub: makeHub, rooms } = createWorld();
  const hub = makeHub();
  hub.peers.join(new ToldWorker("desk"));
  const before = (await Array.fromAsync(rooms.list("lab/"))).length;
  const check = (over: Partial<JobSpec>) =>
    hub.checkJob(callOf(member, { body: { spec: specOf(over) } }));
  expect(await check({ requirements: { where: ["cpus >= 64"] } })).toEqual({
    workers: 1,
    fitting: 0,
    reason: "no connected worker fits: desk does not meet cpus >= 64 (it has 4)",
  });
  expect(await check({})).toMatchObject({ workers: 1, fitting: 1 });
  await expect(check({ parent: "eeeeeeee" as ModelId })).rejects.toThrow(/spec\.parent/);
  expect(await Array.fromAsync(rooms.list("lab/"))).toHaveLength(before);
});

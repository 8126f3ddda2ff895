import { type JobSpec, WaybillError } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { LAB, callOf } from "./call.fixture.ts";
import {
  START_MS,
  type TestHub,
  ToldWorker,
  createWorld,
  jobIdAt,
  lines,
  numbered,
  publishFor,
  replay,
  show,
  submit,
  until,
} from "./job-hub.fixture.ts";
import { jobKey, markerKey } from "./job-keys.ts";

const JOB = jobIdAt(1);
const LEASE_MS = 60_000;

const offered = (worker: ToldWorker, count = 1) =>
  until(() => {
    const { offers } = worker;
    if (offers.length < count) throw new Error(`${offers.length} offers yet`);
    return offers;
  });
const untilState = (hub: TestHub, state: string, job = JOB) =>
  until(async () => expect((await show(hub, job)).state).toBe(state));
const accept = (hub: TestHub, worker: ToldWorker, job = JOB, attempt = 1) =>
  hub.peers.hear(worker, { type: "job.accept", job, attempt });

describe("dispatching", () => {
  it("offers a job to a free worker with numbers behind the hub's event", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await submit(hub, JOB);
    const [offer] = await offered(worker);
    expect(offer).toMatchObject({ job: JOB, room: "lab", attempt: 1, firstSeq: 3 });
    await untilState(hub, "assigned");
    await until(async () => expect(await replay(hub, JOB)).toHaveLength(2));
    const { workers } = await hub.listWorkers(callOf(worker.caller));
    expect(workers).toMatchObject([{ workerId: worker.workerId, jobs: [JOB] }]);
  });

  it("keeps the order of submission, one job a slot", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    for (let n = 1; n <= 3; n++) {
      await submit(hub, jobIdAt(4 - n));
      pass(1);
    }
    const worker = new ToldWorker("desk", { slots: 2 });
    hub.peers.join(worker);
    const [first, second] = await offered(worker, 2);
    expect([first?.job, second?.job]).toEqual([jobIdAt(3), jobIdAt(2)]);
    expect((await show(hub, jobIdAt(1))).reason).toMatch(/waiting for a free worker/);
    hub.peers.hear(worker, { type: "job.released", job: jobIdAt(3), attempt: 1 });
    expect((await offered(worker, 3))[2]?.job).toBe(jobIdAt(1));
  });

  it("does not hold back a job behind one that nobody fits, and says what each lacks", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    const waiting = await submit(hub, JOB, { requirements: { minCpus: 64 } });
    expect(waiting.reason).toBe("no connected worker fits: desk has 4 CPUs, not 64");
    await submit(hub, jobIdAt(2));
    expect((await offered(worker))[0]?.job).toBe(jobIdAt(2));
  });

  it("prefers the worker with the least to do", async () => {
    const hub = createWorld().hub();
    const [desk, pod] = [new ToldWorker("desk", { slots: 4 }), new ToldWorker("pod", { slots: 4 })];
    hub.peers.join(desk);
    hub.peers.join(pod);
    for (let n = 1; n <= 4; n++) await submit(hub, jobIdAt(n));
    expect(await offered(desk, 2)).toHaveLength(2);
    expect(await offered(pod, 2)).toHaveLength(2);
  });

  it("takes a declined job to another worker, and to the same only after a pause", async () => {
    const { hub: makeHub } = createWorld();
    const hub = makeHub();
    const [desk, pod] = [new ToldWorker("desk"), new ToldWorker("pod")];
    hub.peers.join(desk);
    await submit(hub, JOB);
    await offered(desk);
    hub.peers.hear(desk, { type: "job.decline", job: JOB, attempt: 1, reason: "disk full" });
    await untilState(hub, "queued");
    expect((await show(hub, JOB)).reason).toBe("will be offered again: desk declined (disk full)");
    hub.peers.join(pod);
    expect((await offered(pod))[0]).toMatchObject({ attempt: 2, firstSeq: 100_005 });
    expect(desk.offers).toHaveLength(1);
    await until(async () => {
      const states = (await replay(hub, JOB)).map(({ seq, attempt }) => [seq, attempt]);
      expect(states).toEqual([
        [1, 0],
        [2, 1],
        [100_003, 1],
        [100_004, 2],
      ]);
    });
    await hub.stop();
  });

  it("takes back an offer that is not answered, and tells the worker", async () => {
    const hub = createWorld().hub({ acceptTimeoutMs: 20 });
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await submit(hub, JOB);
    await until(() => expect(worker.all("job.revoke")).toMatchObject([{ attempt: 1 }]));
    await untilState(hub, "queued");
    await hub.stop();
  });

  it("queues a job again when its worker leaves before it accepted, and not after", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await submit(hub, JOB);
    await offered(worker);
    hub.peers.leave(worker);
    await untilState(hub, "queued");
    hub.peers.join(worker);
    await offered(worker, 2);
    accept(hub, worker, JOB, 2);
    hub.peers.leave(worker);
    await hub.stop();
    expect(await show(hub, JOB)).toMatchObject({ state: "assigned", attempt: 2 });
  });

  it("keeps jobs queued while the store fails, and offers them when it is back", async () => {
    let failing = false;
    const hub = createWorld({
      before: (operation, key) => {
        if (failing && operation === "put" && key === jobKey(LAB, JOB)) {
          failing = false;
          throw new WaybillError("storage_failed", "the store is away");
        }
      },
    }).hub();
    const worker = new ToldWorker("desk");
    await submit(hub, JOB);
    failing = true;
    hub.peers.join(worker);
    await until(() => expect(failing).toBe(false));
    expect((await show(hub, JOB)).state).toBe("queued");
    expect(await offered(worker)).toMatchObject([{ job: JOB, attempt: 1 }]);
  });
});

describe("after a restart", () => {
  it("queued jobs are found by their markers when a worker connects", async () => {
    const { hub: makeHub } = createWorld();
    await submit(makeHub(), JOB);
    const hub = makeHub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    expect((await offered(worker))[0]?.job).toBe(JOB);
  });

  it("a worker keeps the job it holds, and drops the one that is not its own any more", async () => {
    const { hub: makeHub, pass } = createWorld();
    const before = makeHub();
    const [desk, pod] = [new ToldWorker("desk"), new ToldWorker("pod")];
    before.peers.join(desk);
    await submit(before, JOB);
    await offered(desk);
    accept(before, desk);
    await before.stop();
    const hub = makeHub();
    hub.peers.join(desk, [{ job: JOB, attempt: 1 }]);
    hub.peers.join(pod, [{ job: JOB, attempt: 1 }]);
    await until(() => expect(pod.all("job.revoke")).toHaveLength(1));
    pass(1000);
    await hub.sweep(START_MS + 1000);
    expect(desk.all("job.revoke")).toEqual([]);
    expect(await show(hub, JOB)).toMatchObject({ state: "assigned", worker: desk.workerId });
    hub.peers.hear(pod, { type: "job.released", job: JOB, attempt: 1 });
    await submit(hub, jobIdAt(2));
    expect((await offered(pod)).map(({ job }) => job)).not.toContain(JOB);
  });

  it("an offer that never reached its worker is made again", async () => {
    const { hub: makeHub } = createWorld();
    const before = makeHub();
    const worker = new ToldWorker("desk");
    before.peers.join(worker);
    await submit(before, JOB);
    await offered(worker);
    await before.stop();
    const hub = makeHub();
    hub.peers.join(worker);
    const offers = await offered(worker, 2);
    expect(offers[1]).toMatchObject({ job: JOB, attempt: 2 });
  });

  it("a marker without a job goes after an hour, that of an ended job at once", async () => {
    const { rooms, hub: makeHub, pass } = createWorld();
    await rooms.put(markerKey(LAB, JOB), "");
    const hub = makeHub();
    await hub.sweep(START_MS);
    expect(await rooms.head(markerKey(LAB, JOB))).toBeDefined();
    pass(3_600_001);
    await hub.sweep(START_MS + 3_600_001);
    expect(await rooms.head(markerKey(LAB, JOB))).toBeUndefined();
  });
});

describe("two hubs on one bucket", () => {
  it("give a job to one worker only", async () => {
    const { hub: makeHub } = createWorld({ before: () => new Promise(setImmediate) });
    for (let n = 1; n <= 10; n++) {
      const job = jobIdAt(n);
      const [a, b] = [makeHub(), makeHub()];
      const [desk, pod] = [new ToldWorker("desk"), new ToldWorker("pod")];
      const doc = await submit(a, job);
      a.peers.join(desk);
      b.peers.join(pod);
      b.dispatcher.enqueue(LAB, [doc]);
      await untilState(a, "assigned", job);
      await Promise.all([a.sweep(START_MS), b.sweep(START_MS)]);
      accept(a, desk, job);
      accept(b, pod, job);
      await Promise.all([a.stop(), b.stop()]);
      const offers = [...desk.offers, ...pod.offers].filter((each) => each.job === job);
      expect(offers).toHaveLength(1);
    }
  });

  it("bring a job submitted at one to a worker at the other", async () => {
    const { hub: makeHub } = createWorld();
    const [a, b] = [makeHub(), makeHub()];
    const worker = new ToldWorker("desk");
    b.peers.join(worker);
    await b.sweep(START_MS);
    await submit(a, JOB);
    await b.sweep(START_MS);
    expect((await offered(worker))[0]?.job).toBe(JOB);
  });
});

describe("leases", () => {
  async function lost(hub: TestHub, spec: Partial<JobSpec> = {}) {
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await submit(hub, JOB, spec);
    const [offer] = await offered(worker);
    accept(hub, worker);
    hub.peers.leave(worker);
    return { worker, firstSeq: offer?.firstSeq ?? 0 };
  }

  it("that run out queue the job again, for another worker, above all reserved numbers", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    await lost(hub);
    await hub.sweep(pass(LEASE_MS + 1));
    expect(await show(hub, JOB)).toMatchObject({ state: "queued", fruitless: 1 });
    const pod = new ToldWorker("pod");
    hub.peers.join(pod);
    expect(await offered(pod)).toMatchObject([{ job: JOB, attempt: 2, firstSeq: 100_006 }]);
    await hub.stop();
    expect(await replay(hub, JOB)).toMatchObject([
      { seq: 1, state: "queued" },
      { seq: 2, state: "assigned" },
      { seq: 100_003, attempt: 1, state: "interrupted" },
      { seq: 100_004, attempt: 1, state: "queued" },
      { seq: 100_005, attempt: 2, state: "assigned" },
    ]);
  });

  it("that run out in the last attempt fail the job", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    const { worker, firstSeq } = await lost(hub, { maxAttempts: 1 });
    const body = { attempt: 1, events: numbered(firstSeq, 1, lines(3)) };
    await hub.appendEvents(callOf(worker.caller, { params: { job: JOB }, body }));
    await hub.sweep(START_MS + LEASE_MS);
    expect((await show(hub, JOB)).state).toBe("assigned");
    await hub.sweep(START_MS + pass(LEASE_MS + 1) - START_MS);
    expect(await show(hub, JOB)).toMatchObject({ state: "failed" });
    const events = await replay(hub, JOB);
    expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 100_003]);
    expect(events.at(-1)).toMatchObject({ state: "failed", reason: /^worker lost/ as never });
  });

  it("that are renewed keep it, and a stale renewal is refused", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    const { worker } = await lost(hub);
    const renew = () => {
      const body = { attempt: 1, state: "running" as const, lastSeq: 3 };
      return hub.renewLease(callOf(worker.caller, { params: { job: JOB }, body }));
    };
    for (let i = 0; i < 5; i++) {
      pass(15_000);
      await renew();
    }
    await hub.sweep(START_MS + 75_000);
    expect((await show(hub, JOB)).state).toBe("running");
    await hub.sweep(pass(LEASE_MS + 1));
    expect((await show(hub, JOB)).state).toBe("queued");
    await expect(renew()).rejects.toMatchObject({ code: "stale_attempt" });
  });

  it("are given time after a hub's restart, for workers could not renew meanwhile", async () => {
    const { hub: makeHub, pass } = createWorld();
    const before = makeHub();
    await lost(before);
    await before.stop();
    const nowMs = pass(10 * LEASE_MS);
    const hub = makeHub();
    await hub.sweep(nowMs);
    expect((await show(hub, JOB)).state).toBe("assigned");
    await hub.sweep(pass(LEASE_MS + 1));
    expect((await show(hub, JOB)).state).toBe("queued");
  });

  it("run out beside a job whose document is damaged", async () => {
    const { rooms, hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    await lost(hub);
    await rooms.put(markerKey(LAB, jobIdAt(9)), "");
    await rooms.put(jobKey(LAB, jobIdAt(9)), "not JSON");
    await hub.sweep(pass(2 * LEASE_MS));
    expect((await show(hub, JOB)).state).toBe("queued");
  });

  it("of a job whose end is in the log give it that end: the hub died inside endJob", async () => {
    let dead = false;
    const { hub: makeHub, pass } = createWorld({
      before: (operation, key) => {
        if (dead && operation === "put" && key === jobKey(LAB, JOB)) throw new Error("killed");
      },
    });
    const dying = makeHub();
    const { worker, firstSeq } = await lost(dying);
    const model = await publishFor(dying, JOB);
    const published = {
      type: "published",
      model,
      modelType: "unet",
      artifact: "a".repeat(64),
      bytes: 1,
      tags: [],
      s3Path: "rooms/lab/x/",
    } as never;
    const events = numbered(firstSeq, 1, [published, { type: "state", state: "completed" }]);
    const body = { attempt: 1, state: "completed" as const, model, events };
    dead = true;
    await expect(
      dying.endJob(callOf(worker.caller, { params: { job: JOB }, body })),
    ).rejects.toThrow("killed");
    dead = false;
    const hub = makeHub();
    await hub.sweep(pass(2 * LEASE_MS));
    expect(await show(hub, JOB)).toMatchObject({ state: "completed", model });
    expect((await replay(hub, JOB)).at(-1)).toEqual(events.at(-1));
  });

  it("end in the log even if the hub was killed before it wrote so", async () => {
    let dead = false;
    const { hub: makeHub, pass } = createWorld({
      before: (operation, key) => {
        if (dead && operation === "put" && key.includes("/events/")) throw new Error("killed");
      },
    });
    const dying = makeHub();
    await lost(dying, { maxAttempts: 1 });
    dead = true;
    await dying.sweep(pass(2 * LEASE_MS));
    dead = false;
    const hub = makeHub();
    const events = await replay(hub, JOB);
    expect(events.at(-1)).toMatchObject({ seq: 100_003, state: "failed" });
    expect(await replay(hub, JOB)).toEqual(events);
  });
});

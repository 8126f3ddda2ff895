import {
  type Alias,
  type ArtifactId,
  type ArtifactRecord,
  type JobAssignment,
  type JobEvent,
  type ModelId,
  type NewJobEvent,
  Registry,
} from "@waybill/sdk/protocol";
import { emptyRegistry } from "@waybill/sdk/registry";
import { describe, expect, it } from "vitest";
import { registryKey } from "../registry/room-registry.ts";
import { LAB, callOf, callerOf, workerIdOf } from "./call.fixture.ts";
import {
  START_MS,
  type TestHub,
  ToldWorker,
  createWorld,
  jobIdAt,
  lines,
  member,
  numbered,
  publishFor,
  replay,
  running,
  show,
  specOf,
  submit,
  until,
} from "./job-hub.fixture.ts";
import { jobKey, markerKey, segmentKey } from "./job-keys.ts";

const JOB = jobIdAt(1);
const params = { job: JOB };

const append = (hub: TestHub, worker: ToldWorker, attempt: number, events: JobEvent[]) =>
  hub.appendEvents(callOf(worker.caller, { params, body: { attempt, events } }));

const ending = (state: "completed" | "failed"): NewJobEvent => ({ type: "state", state });

const end = (
  hub: TestHub,
  worker: ToldWorker,
  attempt: number,
  events: JobEvent[],
  over: { state?: "completed" | "failed"; model?: ModelId } = {},
) => {
  const body = { attempt, state: over.state ?? ("failed" as const), events, ...over };
  return hub.endJob(callOf(worker.caller, { params, body }));
};

describe("submitting", () => {
  it("stores job, marker and first event, and tells the room", async () => {
    const { rooms, hub: makeHub } = createWorld();
    const hub = makeHub();
    const doc = await submit(hub, JOB);
    expect(doc).toMatchObject({ state: "queued", attempt: 0, reason: "no worker is connected" });
    expect(await rooms.head(markerKey(LAB, JOB))).toBeDefined();
    expect(await replay(hub, JOB)).toMatchObject([{ seq: 1, attempt: 0, state: "queued" }]);
    expect(hub.peers.broadcasts).toMatchObject([{ type: "job.changed", state: "queued" }]);
  });

  it("is idempotent by id, and refuses another job under it", async () => {
    const hub = createWorld().hub();
    const first = await submit(hub, JOB);
    expect(await submit(hub, JOB)).toEqual(first);
    await expect(submit(hub, JOB, { tags: ["x" as never] })).rejects.toMatchObject({
      code: "conflict",
    });
    expect(await replay(hub, JOB)).toHaveLength(1);
  });

  it("names every field that is wrong", async () => {
    const { hub: makeHub, records } = createWorld();
    const hub = makeHub();
    const prod = "prod" as Alias;
    await hub.documents.create(Registry, registryKey(LAB), {
      ...emptyRegistry(LAB),
      protected_aliases: [prod],
    });
    const code = "c".repeat(64) as ArtifactId;
    const expiresAt = new Date(START_MS).toISOString();
    records.set(code, { artifact: code, expiresAt } as ArtifactRecord);
    const wrong = submit(hub, JOB, {
      dataset: "d".repeat(64) as ArtifactId,
      code,
      parent: "eeeeeeee" as ModelId,
      alias: prod,
    });
    await expect(wrong).rejects.toThrow(
      /spec\.dataset: .*spec\.code: .* expired .*spec\.parent: .*spec\.alias: alias prod is protected/,
    );
    const caller = callerOf("owner");
    expect((await submit(hub, JOB, { alias: prod }, caller)).state).toBe("queued");
  });

  it("lists jobs newest first, by state if asked", async () => {
    const hub = createWorld().hub();
    for (let n = 1; n <= 5; n++) await submit(hub, jobIdAt(n));
    await hub.commandJob(
      callOf(member, { params: { job: jobIdAt(4) }, body: { id: "c1", name: "cancel" } }),
    );
    const list = async (query: { state?: "queued" | "cancelled"; limit?: number }) =>
      (await hub.listJobs(callOf(member, { query }))).jobs.map(({ job }) => job);
    expect(await list({})).toEqual([5, 4, 3, 2, 1].map(jobIdAt));
    expect(await list({ limit: 2 })).toEqual([5, 4].map(jobIdAt));
    expect(await list({ state: "queued", limit: 2 })).toEqual([5, 3].map(jobIdAt));
    expect(await list({ state: "cancelled" })).toEqual([jobIdAt(4)]);
  });
});

describe("the end of a log", () => {
  const tailOf = (hub: TestHub, tail: number) =>
    hub.readEvents(callOf(member, { params, query: { tail } }));

  it("is told without the rest, and is where to go on reading", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    const { attempt, firstSeq } = await running(hub, JOB, worker);
    await append(hub, worker, attempt, numbered(firstSeq, attempt, lines(5)));
    const last = await tailOf(hub, 1);
    expect(last).toMatchObject({ events: [{ seq: 7 }], more: false, lastSeq: 7 });
    await append(hub, worker, attempt, numbered(8, attempt, lines(1)));
    const query = { since: last.lastSeq };
    const next = await hub.readEvents(callOf(member, { params, query }));
    expect(next.events.map(({ seq }) => seq)).toEqual([8]);
  });

  it("is the job's end, even if the hub was killed before it wrote so", async () => {
    const { hub: makeHub, rooms } = createWorld();
    const hub = makeHub();
    await submit(hub, JOB);
    await hub.commandJob(callOf(member, { params, body: { id: "c1", name: "cancel" } }));
    await rooms.delete([segmentKey(LAB, JOB, 2)]);
    const answer = await tailOf(makeHub(), 1);
    expect(answer).toMatchObject({
      events: [{ seq: 2, state: "cancelled" }],
      lastSeq: 2,
      state: "cancelled",
    });
  });
});

describe("an attempt that is interrupted", () => {
  const interruption: NewJobEvent = { type: "state", state: "interrupted" };
  const interrupt = async (hub: TestHub, worker: ToldWorker, offer: JobAssignment) => {
    const { attempt, firstSeq } = offer;
    const events = numbered(firstSeq, attempt, [interruption]);
    const body = { attempt, state: "interrupted" as const, reason: "SIGTERM", events };
    return hub.endJob(callOf(worker.caller, { params, body }));
  };

  it("is followed by another at another worker, and answers the same when asked again", async () => {
    const hub = createWorld().hub();
    const [desk, pod] = [new ToldWorker("desk", { slots: 2 }), new ToldWorker("pod")];
    const offer = await running(hub, JOB, desk);
    expect(await interrupt(hub, desk, offer)).toMatchObject({ state: "queued", attempt: 1 });
    expect((await show(hub, JOB)).reason).toMatch(/it was interrupted there/);
    expect(await interrupt(hub, desk, offer)).toMatchObject({ state: "queued" });
    hub.peers.join(pod);
    const next = await until(() => {
      const [found] = pod.offers;
      if (found === undefined) throw new Error("no offer yet");
      return found;
    });
    expect(next).toMatchObject({ attempt: 2 });
    expect(await interrupt(hub, desk, offer)).toMatchObject({ state: "assigned", attempt: 2 });
    expect(desk.offers).toHaveLength(1);
    const states = (await replay(hub, JOB)).map((event) => event.type === "state" && event.state);
    expect(states).toEqual(["queued", "assigned", "interrupted", "queued", "assigned"]);
  });

  it("is the end of a job that may be tried no more", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    await submit(hub, JOB, { maxAttempts: 1 });
    hub.peers.join(worker);
    const [offer] = await until(() => {
      expect(worker.offers).toHaveLength(1);
      return worker.offers;
    });
    if (offer === undefined) throw new Error("no offer");
    const doc = await interrupt(hub, worker, offer);
    expect(doc).toMatchObject({
      state: "interrupted",
      reason: /SIGTERM; not tried again/ as never,
    });
    expect((await replay(hub, JOB)).at(-1)).toMatchObject({ state: "interrupted" });
  });

  it("is found in the log when the hub was killed inside endJob", async () => {
    let dead = false;
    const { hub: makeHub, pass } = createWorld({
      before: (operation, key) => {
        if (dead && operation === "put" && key === jobKey(LAB, JOB)) throw new Error("killed");
      },
    });
    const dying = makeHub();
    const worker = new ToldWorker("desk");
    const offer = await running(dying, JOB, worker);
    dead = true;
    await expect(interrupt(dying, worker, offer)).rejects.toThrow("killed");
    dead = false;
    const hub = makeHub();
    await hub.sweep(pass(120_000));
    expect(await show(hub, JOB)).toMatchObject({ state: "queued", fruitless: 1 });
    expect(await interrupt(hub, worker, offer)).toMatchObject({ state: "queued" });
    const states = (await replay(hub, JOB)).map((event) => event.type === "state" && event.state);
    expect(states).toEqual(["queued", "assigned", "interrupted", "queued"]);
  });
});

describe("a worker's log", () => {
  it("follows the hub's events without a gap, to the end", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    const { attempt, firstSeq } = await running(hub, JOB, worker);
    await append(hub, worker, attempt, numbered(firstSeq, attempt, lines(5)));
    const tail = numbered(firstSeq + 5, attempt, [...lines(2), ending("failed")]);
    const doc = await end(hub, worker, attempt, tail);
    expect(doc).toMatchObject({ state: "failed", worker: workerIdOf("desk") });
    const events = await replay(hub, JOB, 3);
    expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(events.at(-1)).toMatchObject({ type: "state", state: "failed" });
  });

  it("is fenced: another attempt, key or an ended job is stale (I11)", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    const { attempt, firstSeq } = await running(hub, JOB, worker);
    const events = numbered(firstSeq, attempt, lines(1));
    const stale = { code: "stale_attempt" };
    await expect(append(hub, new ToldWorker("pod"), attempt, events)).rejects.toMatchObject(stale);
    const other = numbered(firstSeq, attempt + 1, lines(1));
    await expect(append(hub, worker, attempt + 1, other)).rejects.toMatchObject(stale);
    await end(hub, worker, attempt, numbered(firstSeq, attempt, [ending("failed")]));
    const late = numbered(firstSeq + 1, attempt, lines(1));
    await expect(append(hub, worker, attempt, late)).rejects.toMatchObject(stale);
  });

  it("may not use numbers it has not reserved", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    const { attempt, firstSeq, seqReserved } = await running(hub, JOB, worker);
    await append(hub, worker, attempt, numbered(firstSeq, attempt, lines(1)));
    const above = numbered(seqReserved + 1, attempt, lines(1));
    await expect(append(hub, worker, attempt, above)).rejects.toThrow(/last reserved number/);
    const body = { attempt, state: "running" as const, lastSeq: firstSeq };
    const lease = await hub.renewLease(callOf(worker.caller, { params, body }));
    expect(lease.seqReserved).toBe(firstSeq + 100_000);
  });

  it("ends idempotently, and only as its last event says", async () => {
    const { rooms, hub: makeHub } = createWorld();
    const hub = makeHub();
    const worker = new ToldWorker("desk");
    const { attempt, firstSeq } = await running(hub, JOB, worker);
    const tail = numbered(firstSeq, attempt, [ending("failed")]);
    await expect(end(hub, worker, attempt, [])).rejects.toMatchObject({ code: "invalid_request" });
    const doc = await end(hub, worker, attempt, tail);
    expect(await end(hub, worker, attempt, tail)).toEqual(doc);
    expect(await end(makeHub(), worker, attempt, tail)).toEqual(doc);
    const other = end(hub, worker, attempt, tail, { state: "completed" });
    await expect(other).rejects.toMatchObject({ code: "stale_attempt" });
    await hub.stop();
    expect(await rooms.head(markerKey(LAB, JOB))).toBeUndefined();
  });

  it("is completed only when the registry names its model (I5), in two PUTs and no GET", async () => {
    const operations: string[] = [];
    const { hub: makeHub } = createWorld({
      before: (operation) => void operations.push(operation),
    });
    const hub = makeHub();
    const worker = new ToldWorker("desk");
    const { attempt, firstSeq } = await running(hub, JOB, worker);
    const tail = numbered(firstSeq, attempt, [ending("completed")]);
    const model = "aaaaaaaa" as ModelId;
    const complete = () => end(hub, worker, attempt, tail, { state: "completed", model });
    await expect(complete()).rejects.toMatchObject({ code: "conflict" });
    await publishFor(hub, JOB, model);
    operations.length = 0;
    expect(await complete()).toMatchObject({ state: "completed", model });
    expect(operations.slice(0, 2)).toEqual(["put", "put"]);
    expect(operations).not.toContain("get");
  });

  it("keeps samples that are images, for its own worker", async () => {
    const hub = createWorld().hub();
    const worker = new ToldWorker("desk");
    await running(hub, JOB, worker);
    const png = Buffer.from("\u0089PNG\r\n\u001A\nrest", "latin1");
    const file = `${"ab".repeat(8)}.png`;
    const put = (bytes: Uint8Array, caller = worker.caller) =>
      hub.putSample(callOf(caller, { params: { ...params, file }, bytes }));
    const read = () => hub.readSample(callOf(member, { params: { ...params, file } }));
    await expect(read()).rejects.toMatchObject({ code: "not_found" });
    await put(png);
    await put(png);
    expect((await read()).url).toContain(file);
    await expect(put(Buffer.from("text"))).rejects.toMatchObject({ code: "invalid_request" });
    await expect(put(Buffer.alloc(2 ** 20 + 1))).rejects.toMatchObject({ code: "too_large" });
    const stranger = put(png, callerOf("worker", "pod"));
    await expect(stranger).rejects.toMatchObject({ code: "stale_attempt" });
  });
});

it("spec of a job is the one that was submitted", async () => {
  const hub = createWorld().hub();
  await submit(hub, JOB, { config: { lr: 0.1 } });
  expect((await show(hub, JOB)).spec).toEqual(specOf({ config: { lr: 0.1 } }));
});

it("values of a job's environment are told to its worker only (I10)", async () => {
  const hub = createWorld().hub();
  const env = { API_KEY: "hunter2", EMPTY: "" };
  const hidden = { API_KEY: "", EMPTY: "" };
  expect((await submit(hub, JOB, { env })).spec.env).toEqual(hidden);
  // The same submission again is compared with what is stored, not with what is shown.
  expect((await submit(hub, JOB, { env })).spec.env).toEqual(hidden);
  await expect(submit(hub, JOB, { env: hidden })).rejects.toMatchObject({ code: "conflict" });
  expect((await show(hub, JOB)).spec.env).toEqual(hidden);
  const { jobs } = await hub.listJobs(callOf(callerOf("viewer")));
  expect(jobs.map(({ spec }) => spec.env)).toEqual([hidden]);
  const worker = new ToldWorker("desk");
  hub.peers.join(worker);
  const [offer] = await until(() => {
    expect(worker.offers).toHaveLength(1);
    return worker.offers;
  });
  expect(offer?.spec.env).toEqual(env);
  const tail = numbered(offer?.firstSeq ?? 0, 1, [ending("failed")]);
  expect((await end(hub, worker, 1, tail)).spec.env).toEqual(hidden);
  expect((await end(hub, worker, 1, tail)).spec.env).toEqual(hidden);
  expect(JSON.stringify(hub.peers.broadcasts)).not.toContain("hunter2");
});

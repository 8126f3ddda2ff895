// Jobs nobody looks at: no worker, no viewer, perhaps not even the hub that gave them away.
import { JobDoc, type JobSpec } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { LAB, callOf } from "./call.fixture.ts";
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
  running,
  show,
  submit,
  until,
} from "./job-hub.fixture.ts";
import { jobKey, markerKey } from "./job-keys.ts";

const JOB = jobIdAt(1);
const SWEEP_MS = 10_000;
const MINUTE_MS = 60_000;

/** A worker takes the job at this hub; then it is gone, and so is everybody else. */
async function abandoned(hub: TestHub, spec: Partial<JobSpec> = {}) {
  await submit(hub, JOB, spec);
  await taken(hub, 1);
}

async function taken(hub: TestHub, attempt: number) {
  const worker = new ToldWorker("desk");
  hub.peers.join(worker);
  await until(() => expect(worker.offers).toMatchObject([{ attempt }]));
  hub.peers.hear(worker, { type: "job.accept", job: JOB, attempt });
  hub.peers.leave(worker);
}

/** As the bucket has it: asking a hub would be a visit. */
const stateOf = async (hub: TestHub) =>
  (await hub.documents.read(JobDoc, jobKey(LAB, JOB)))?.doc.state;

describe("a job that everybody has left", () => {
  it("waits for another worker when its lease has run out, and ends when it may not", async () => {
    const { rooms, hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    await abandoned(hub, { maxAttempts: 2 });
    for (let ms = 0; ms <= 2 * MINUTE_MS; ms += SWEEP_MS) await hub.sweep(pass(SWEEP_MS));
    expect(await stateOf(hub)).toBe("queued");
    await taken(hub, 2);
    for (let ms = 0; ms <= 2 * MINUTE_MS; ms += SWEEP_MS) await hub.sweep(pass(SWEEP_MS));
    expect(await stateOf(hub)).toBe("failed");
    await hub.stop();
    expect(await rooms.head(markerKey(LAB, JOB))).toBeUndefined();
  });

  it("is found by a hub nobody of the room ever came to, within minutes", async () => {
    const { hub: makeHub, pass } = createWorld();
    const [its, other] = [makeHub(), makeHub()];
    // Has looked at every room, and seen nothing to do.
    await other.sweep(START_MS);
    await abandoned(its);
    await its.stop();
    for (let ms = 0; ms <= 5 * MINUTE_MS; ms += SWEEP_MS) await other.sweep(pass(SWEEP_MS));
    expect(await stateOf(other)).toBe("queued");
  });

  it("costs rooms without jobs no more than a listing in minutes", async () => {
    const listings: string[] = [];
    const {
      hub: makeHub,
      pass,
      rooms,
    } = createWorld({
      before: (operation, key) => {
        if (operation === "list") listings.push(key);
      },
    });
    for (const room of ["quiet", "still"]) await rooms.put(`${room}/room.json`, "{}");
    const hub = makeHub();
    for (let ms = 0; ms < 5 * MINUTE_MS; ms += SWEEP_MS) await hub.sweep(pass(SWEEP_MS));
    expect(listings.filter((key) => key !== "").length).toBeLessThanOrEqual(4);
  });
});

it("a job that was completed while its hub was killed has its model, however much was told after that", async () => {
  const { hub: makeHub, pass } = createWorld();
  const hub = makeHub();
  const worker = new ToldWorker("desk");
  const { firstSeq } = await running(hub, JOB, worker);
  const model = await publishFor(hub, JOB);
  const events = numbered(firstSeq, 1, [...lines(1500), { type: "state", state: "completed" }]);
  const half = [events.slice(0, 800), events.slice(800)];
  for (const some of half) {
    const body = { attempt: 1, events: some };
    await hub.appendEvents(callOf(worker.caller, { params: { job: JOB }, body }));
  }
  await hub.sweep(pass(2 * MINUTE_MS));
  expect(await show(hub, JOB)).toMatchObject({ state: "completed", model });
});

describe("a worker that is silent for longer than its lease", () => {
  const HOUR_MS = 60 * MINUTE_MS;
  const renew = (hub: TestHub, { caller }: ToldWorker, lastSeq: number, job = JOB) =>
    hub.renewLease(
      callOf(caller, { params: { job }, body: { attempt: 1, state: "running", lastSeq } }),
    );

  /** A laptop has the job; then it sleeps. */
  async function asleep() {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    const laptop = new ToldWorker("laptop", { kind: "desktop" });
    const { firstSeq } = await running(hub, JOB, laptop);
    await renew(hub, laptop, firstSeq - 1);
    hub.peers.leave(laptop);
    await hub.sweep(pass(HOUR_MS));
    return { hub, pass, laptop, firstSeq };
  }

  it("goes on as if nothing had happened when nobody else could have done its job", async () => {
    const { hub, laptop, firstSeq, pass } = await asleep();
    expect(await show(hub, JOB)).toMatchObject({
      state: "running",
      attempt: 1,
      reason:
        "laptop has not been heard of since 03:04:05 UTC; it keeps the job: no other worker fits",
    });
    hub.peers.join(laptop, [{ job: JOB, attempt: 1 }]);
    const body = { attempt: 1, events: numbered(firstSeq, 1, lines(1)) };
    await hub.appendEvents(callOf(laptop.caller, { params: { job: JOB }, body }));
    await renew(hub, laptop, firstSeq);
    await hub.sweep(pass(SWEEP_MS));
    const doc = await show(hub, JOB);
    expect(doc).toMatchObject({ state: "running", attempt: 1 });
    expect(doc.reason).toBeUndefined();
    expect(laptop.all("job.revoke")).toEqual([]);
  });

  it("loses the job when another worker that fits comes", async () => {
    const { hub, laptop, firstSeq } = await asleep();
    const desk = new ToldWorker("desk");
    hub.peers.join(desk);
    await until(() => expect(desk.offers).toMatchObject([{ job: JOB, attempt: 2 }]));
    await expect(renew(hub, laptop, firstSeq)).rejects.toMatchObject({ code: "stale_attempt" });
    await hub.stop();
  });

  it("loses as many jobs as others have room for, when they have", async () => {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    const [second, third] = [jobIdAt(2), jobIdAt(3)];
    const laptop = new ToldWorker("laptop", { kind: "desktop", slots: 2 });
    await running(hub, JOB, laptop);
    pass(1);
    await running(hub, second, laptop);
    hub.peers.leave(laptop);
    const desk = new ToldWorker("desk");
    hub.peers.join(desk);
    await running(hub, third, desk);
    pass(HOUR_MS);
    await renew(hub, desk, 3, third);
    await hub.sweep(pass(1));
    expect((await show(hub, JOB)).reason).toMatch(
      /keeps the job: no other worker that fits is free/,
    );
    hub.peers.hear(desk, { type: "job.released", job: third, attempt: 1 });
    await until(() => expect(desk.offers.at(-1)).toMatchObject({ job: JOB, attempt: 2 }));
    await hub.sweep(pass(SWEEP_MS));
    expect(await show(hub, second)).toMatchObject({ attempt: 1, state: "assigned" });
    await hub.stop();
  });

  it("loses it when it is back without it", async () => {
    const { hub, laptop } = await asleep();
    hub.peers.join(laptop);
    await until(() => expect(laptop.offers.at(-1)).toMatchObject({ job: JOB, attempt: 2 }));
    await hub.stop();
  });

  it("loses it when somebody wants it cancelled", async () => {
    const { hub } = await asleep();
    const body = { id: "c1", name: "cancel" } as const;
    await hub.commandJob(callOf(member, { params: { job: JOB }, body }));
    await until(async () => expect(await stateOf(hub)).toBe("cancelled"));
  });

  it("loses it after a day", async () => {
    const { hub, pass } = await asleep();
    await hub.sweep(pass(22 * HOUR_MS));
    expect(await stateOf(hub)).toBe("running");
    await hub.sweep(pass(HOUR_MS + MINUTE_MS));
    expect(await stateOf(hub)).toBe("queued");
  });
});

// What a worker sends when its lease is nearly over, or over: it is stored whole, or not at all (I6, I11).
import { expect, it } from "vitest";
import { LAB, callOf } from "./call.fixture.ts";
import {
  ToldWorker,
  createWorld,
  jobIdAt,
  lines,
  numbered,
  publishFor,
  replay,
  running,
  show,
} from "./job-hub.fixture.ts";

const JOB = jobIdAt(1);
const params = { room: LAB, job: JOB };
type Fits = (operation: string, key: string) => boolean;

/** A world whose bucket can hold up one operation. */
function slowWorld() {
  let before: (operation: string, key: string) => Promise<void> | void = () => {};
  const world = createWorld({ before: (operation, key) => before(operation, key) });
  const holdUp = (fits: Fits) => {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    before = async (operation, key) => {
      if (!fits(operation, key)) return;
      before = () => {};
      reached.resolve();
      await released.promise;
    };
    return { reached: reached.promise, release: () => released.resolve() };
  };
  return { ...world, holdUp };
}

const putOf =
  (part: string): Fits =>
  (operation, key) =>
    operation === "put" && key.includes(part);

it("a job that is completed while a sweep takes its lease to be over has one outcome", async () => {
  const { hub: makeHub, holdUp, pass } = slowWorld();
  const [hub, other] = [makeHub(), makeHub()];
  const worker = new ToldWorker("desk");
  const { firstSeq } = await running(hub, JOB, worker);
  const model = await publishFor(hub, JOB);
  const now = pass(200_000);
  const held = holdUp(putOf("job.json"));
  const sweep = other.sweep(now);
  await held.reached;
  const events = numbered(firstSeq, 1, [{ type: "state", state: "completed" }]);
  const body = { attempt: 1, state: "completed", model, events } as const;
  await hub.endJob(callOf(worker.caller, { params, body }));
  held.release();
  await sweep;
  expect(await show(hub, JOB)).toMatchObject({ state: "completed", model });
  const states = (await replay(hub, JOB)).flatMap((e) => (e.type === "state" ? [e.state] : []));
  expect(states).toEqual(["queued", "assigned", "completed"]);
});

it("the outcome of an attempt that a sweep has ended first is not in the log", async () => {
  const { hub: makeHub, holdUp, pass } = slowWorld();
  const [hub, other] = [makeHub(), makeHub()];
  const worker = new ToldWorker("desk");
  const { firstSeq } = await running(hub, JOB, worker);
  const model = await publishFor(hub, JOB);
  const now = pass(200_000);
  // The fence is passed, the renewal is on its way.
  const held = holdUp(putOf("job.json"));
  const events = numbered(firstSeq, 1, [{ type: "state", state: "completed" }]);
  const body = { attempt: 1, state: "completed", model, events } as const;
  const late = hub.endJob(callOf(worker.caller, { params, body }));
  await held.reached;
  await other.sweep(now);
  held.release();
  await expect(late).rejects.toMatchObject({ code: "stale_attempt" });
  const states = (await replay(hub, JOB)).flatMap((e) => (e.type === "state" ? [e.state] : []));
  expect(states).toEqual(["queued", "assigned", "interrupted", "queued"]);
});

it("events are stored for a worker with little time left only when its lease is renewed", async () => {
  const { hub: makeHub, pass } = slowWorld();
  const hub = makeHub();
  const worker = new ToldWorker("desk");
  const { firstSeq } = await running(hub, JOB, worker);
  const append = (seq: number) => {
    const body = { attempt: 1, events: numbered(seq, 1, lines(1)) };
    return hub.appendEvents(callOf(worker.caller, { params, body }));
  };
  const leaseUntil = async () => (await show(hub, JOB)).leaseUntil;
  const before = await leaseUntil();
  pass(35_000);
  await append(firstSeq);
  expect(await leaseUntil()).toBe(before);
  const now = pass(10_000);
  await append(firstSeq + 1);
  expect(await leaseUntil()).toBe(new Date(now + 60_000).toISOString());
});

it("a segment that takes longer to store than the lease lasts is not stored behind what follows it", async () => {
  const { hub: makeHub, holdUp, pass } = slowWorld();
  const [hub, other] = [makeHub(), makeHub()];
  const worker = new ToldWorker("desk");
  const { firstSeq } = await running(hub, JOB, worker);
  const held = holdUp(putOf("/events/"));
  const body = { attempt: 1, events: numbered(firstSeq, 1, lines(2)) };
  const late = hub.appendEvents(callOf(worker.caller, { params, body }));
  await held.reached;
  await other.sweep(pass(61_000));
  const before = await replay(other, JOB);
  expect(before.at(-1)).toMatchObject({ type: "state", state: "queued", attempt: 1 });
  held.release();
  await expect(late).rejects.toMatchObject({ code: "storage_failed" });
  expect(await replay(other, JOB)).toEqual(before);
});

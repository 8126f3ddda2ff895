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

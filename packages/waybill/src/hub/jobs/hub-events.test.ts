import { WaybillError } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { LAB, callOf } from "./call.fixture.ts";
import {
  ToldWorker,
  createWorld,
  jobIdAt,
  lines,
  numbered,
  replay,
  submit,
  until,
} from "./job-hub.fixture.ts";
import { segmentKey } from "./job-keys.ts";

const JOB = jobIdAt(1);

const offered = (worker: ToldWorker) =>
  until(() => {
    expect(worker.offers).toHaveLength(1);
    return worker.offers;
  });

describe("the hub's own events", () => {
  it("never appear below those a reader has seen, however late they are stored (I6)", async () => {
    let tries = 0;
    let away = true;
    const { hub: makeHub } = createWorld({
      before: (operation, key) => {
        if (operation !== "put" || key !== segmentKey(LAB, JOB, 2)) return;
        tries += 1;
        if (away) throw new WaybillError("storage_failed", "the store is away");
      },
    });
    const hub = makeHub();
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await submit(hub, JOB);
    const [offer] = await offered(worker);
    hub.peers.hear(worker, { type: "job.accept", job: JOB, attempt: 1 });
    await until(() => expect(tries).toBeGreaterThan(0));
    const events = numbered(offer?.firstSeq ?? 0, 1, lines(2));
    const body = { attempt: 1, events };
    await hub.appendEvents(callOf(worker.caller, { params: { job: JOB }, body }));
    expect((await replay(hub, JOB)).map(({ seq }) => seq)).toEqual([1, 3, 4]);
    away = false;
    // Waits for the retries to end; the hub's stop alone would cut them off.
    await until(() => expect(hub.peers.broadcasts.at(-1)).toMatchObject({ state: "assigned" }));
    expect((await replay(hub, JOB)).map(({ seq }) => seq)).toEqual([1, 3, 4]);
  });

  it("are missed in the log only with a warning", async () => {
    const warned: string[] = [];
    const { hub: makeHub } = createWorld({
      before: (operation, key) => {
        if (operation !== "put" || key !== segmentKey(LAB, JOB, 2)) return;
        throw new WaybillError("invalid_request", "the store refuses it");
      },
    });
    const hub = makeHub({
      log: (level, message) => {
        if (level === "warn") warned.push(message);
      },
    });
    const worker = new ToldWorker("desk");
    hub.peers.join(worker);
    await submit(hub, JOB);
    await offered(worker);
    await until(() => expect(warned).toEqual([expect.stringContaining("event 2 (assigned)")]));
  });
});

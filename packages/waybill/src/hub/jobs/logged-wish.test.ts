import type { CommandName, JobEvent } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { callOf } from "./call.fixture.ts";
import {
  START_MS,
  ToldWorker,
  createWorld,
  jobIdAt,
  numbered,
  running,
  show,
} from "./job-hub.fixture.ts";
import { wishIn } from "./logged-wish.ts";

const JOB = jobIdAt(1);
const params = { job: JOB };
type Stage = "received" | "applied" | "rejected";

const command = (id: string, name: CommandName, stage: Stage, attempt = 1): JobEvent => ({
  seq: 1,
  time: new Date(START_MS).toISOString(),
  attempt,
  type: "command",
  id,
  name,
  stage,
  by: "ada",
});

describe("what the log says somebody wanted", () => {
  it.each<[string, JobEvent[], string | undefined]>([
    ["nothing", [command("c1", "pause", "applied")], undefined],
    ["a stop the worker received", [command("c1", "stop", "received")], "c1"],
    [
      "none that it rejected",
      [command("c1", "stop", "received"), command("c1", "stop", "rejected")],
      undefined,
    ],
    ["none of another attempt", [command("c1", "stop", "received", 2)], undefined],
    [
      "a cancel before a stop",
      [command("c1", "stop", "applied"), command("c2", "cancel", "received")],
      "c2",
    ],
  ])("%s", (_, events, id) => {
    expect(wishIn(events, 1)?.id).toBe(id);
  });
});

describe("a job that was cancelled over a direct channel", () => {
  async function told() {
    const { hub: makeHub, pass } = createWorld();
    const hub = makeHub();
    const worker = new ToldWorker("desk");
    const { attempt, firstSeq } = await running(hub, JOB, worker);
    const { seq: _, time: __, attempt: ___, ...event } = command("c1", "cancel", "received");
    const body = { attempt, events: numbered(firstSeq, attempt, [event]) };
    await hub.appendEvents(callOf(worker.caller, { params, body }));
    return { hub, worker, pass, next: firstSeq + 1 };
  }

  it("is not tried again when its worker is lost", async () => {
    const { hub, worker, pass } = await told();
    hub.peers.leave(worker);
    await hub.sweep(pass(60_001));
    expect(await show(hub, JOB)).toMatchObject({ state: "cancelled", reason: "cancelled by ada" });
  });

  it("is not tried again when its worker is interrupted", async () => {
    const { hub, worker, next } = await told();
    const events = numbered(next, 1, [{ type: "state", state: "interrupted" }]);
    const body = { attempt: 1, state: "interrupted" as const, events };
    const doc = await hub.endJob(callOf(worker.caller, { params, body }));
    expect(doc).toMatchObject({ state: "cancelled", reason: "cancelled by ada" });
  });
});

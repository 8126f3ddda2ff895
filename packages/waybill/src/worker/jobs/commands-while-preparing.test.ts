// What commands do while a job's dataset is still being pulled (trainer.md §5).
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as v from "valibot";
import { ArtifactId, type JobId } from "@waybill/sdk/protocol";
import { EventFile } from "../events/event-file.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

const DATASET = v.parse(ArtifactId, "d".repeat(64));
const CODE = v.parse(ArtifactId, "c".repeat(64));
const WAIT = { timeout: 15_000, interval: 5 };
let lab: WorkerLab;
let arrive: () => void;

beforeEach(async () => {
  lab = await WorkerLab.open();
  const gate = Promise.withResolvers<void>();
  lab.transfer.pullGate = gate.promise;
  arrive = gate.resolve;
  for (const id of [DATASET, CODE]) {
    const dir = lab.path(id.slice(0, 1));
    await mkdir(dir);
    await writeFile(join(dir, "x.txt"), "data");
    lab.transfer.trees.set(id, dir);
  }
});

afterEach(() => lab[Symbol.asyncDispose]());

const train = (code = "save()") => trainer(code, { dataset: DATASET });

async function offered(assignment = train()): Promise<JobId> {
  const job = lab.offer(assignment);
  await vi.waitFor(() => expect(lab.feed.readers.has(job)).toBe(true), WAIT);
  return job;
}

const stages = (job: JobId) =>
  lab.ofType(job, "command").map(({ id, name, stage }) => `${id} ${name} ${stage}`);

describe("while the dataset is being pulled", () => {
  it.each(["stop", "cancel"] as const)("%s ends the job as cancelled at once", async (name) => {
    await lab.start();
    const job = await offered();
    const acks = lab.feed.command({ id: "c1", job, name });
    const end = await lab.outcome(job);
    expect(end).toMatchObject({ state: "cancelled" });
    expect(end?.reason).toBe(name === "stop" ? "stopped before the trainer started" : undefined);
    expect(acks.map(({ stage }) => stage)).toEqual(["received", "applied"]);
    expect(stages(job)).toEqual([`c1 ${name} received`, `c1 ${name} applied`]);
    expect(lab.states(job)).toEqual(["cancelled"]);
    await vi.waitFor(async () => expect(await readdir(lab.path("data/spool"))).toEqual([]), WAIT);
    arrive();
    const next = lab.offer(train());
    expect((await lab.outcome(next))?.state).toBe("completed");
  });

  it("a command through the hub is acknowledged there, too", async () => {
    await lab.start();
    const job = await offered();
    lab.session.receive({ type: "job.command", command: { id: "c1", job, name: "stop" }, by: "b" });
    expect((await lab.outcome(job))?.state).toBe("cancelled");
    expect(lab.session.sent).toContainEqual({ type: "command.ack", id: "c1", stage: "received" });
  });

  it("a command that comes through the hub again is acknowledged again, whatever became of it", async () => {
    await lab.start();
    const job = await offered();
    const pause = {
      type: "job.command",
      command: { id: "c1", job, name: "pause" },
      by: "b",
    } as const;
    const acks = () => lab.session.sent.filter(({ type }) => type === "command.ack");
    const received = { type: "command.ack", id: "c1", stage: "received" };
    lab.session.receive(pause);
    await vi.waitFor(
      () => expect(stages(job)).toEqual(["c1 pause received", "c1 pause applied"]),
      WAIT,
    );
    expect(acks()).toEqual([received]);
    lab.session.receive(pause);
    await vi.waitFor(() => expect(acks()).toEqual([received, received]), WAIT);
    expect(stages(job)).toHaveLength(2);
  });

  it("nobody is told that a command was received before that is on the disk", async () => {
    await lab.start();
    const job = await offered();
    const gate = Promise.withResolvers<void>();
    const append = vi.spyOn(EventFile.prototype, "append");
    append.mockImplementationOnce(async function (this: EventFile, events) {
      await gate.promise;
      return this.append(events);
    });
    const acks = lab.feed.command({ id: "c1", job, name: "pause" });
    await new Promise(setImmediate);
    expect(acks).toEqual([]);
    gate.resolve();
    await vi.waitFor(
      () => expect(acks.map(({ stage }) => stage)).toEqual(["received", "applied"]),
      WAIT,
    );
    append.mockRestore();
  });

  it("pause is applied at once and holds the trainer back until resume", async () => {
    await lab.start();
    const job = await offered(train(`console.log("up"); save();`));
    const paused = lab.feed.command({ id: "c1", job, name: "pause" });
    const both = ["received", "applied"];
    await vi.waitFor(() => expect(paused.map(({ stage }) => stage)).toEqual(both), WAIT);
    await vi.waitFor(() => expect(lab.states(job)).toEqual(["paused"]), WAIT);
    arrive();
    const pulled = () => lab.ofType(job, "transfer").filter(({ done }) => done);
    await vi.waitFor(() => expect(pulled()).toHaveLength(1), WAIT);
    expect(lab.ofType(job, "log")).toEqual([]);
    const resumed = lab.feed.command({ id: "c2", job, name: "resume" });
    await vi.waitFor(() => expect(resumed.map(({ stage }) => stage)).toEqual(both), WAIT);
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "log").map(({ line }) => line)).toEqual(["up"]);
    expect(lab.states(job)).toEqual(["paused", "running", "completed"]);
  });

  it("resume takes `paused` back before the dataset is here", async () => {
    await lab.start();
    const job = await offered();
    lab.feed.command({ id: "c1", job, name: "pause" });
    lab.feed.command({ id: "c2", job, name: "resume" });
    await vi.waitFor(() => expect(lab.states(job)).toEqual(["paused", "running"]), WAIT);
    arrive();
    expect((await lab.outcome(job))?.state).toBe("completed");
  });

  it.each(["stop", "cancel"] as const)("%s ends a paused job", async (name) => {
    await lab.start();
    const job = await offered();
    lab.feed.command({ id: "c1", job, name: "pause" });
    const acks = lab.feed.command({ id: "c2", job, name });
    expect((await lab.outcome(job))?.state).toBe("cancelled");
    expect(acks.map(({ stage }) => stage)).toEqual(["received", "applied"]);
  });

  it("cancel does not wait for another job that pulls the same dataset", async () => {
    await lab.start({ slots: 2 });
    const first = await offered();
    const second = await offered();
    lab.feed.command({ id: "c1", job: second, name: "cancel" });
    expect((await lab.outcome(second))?.state).toBe("cancelled");
    expect(lab.hub.ended.get(first)).toBeUndefined();
    arrive();
    expect((await lab.outcome(first))?.state).toBe("completed");
  });

  it("a job says what it waits for, since when, and what goes on with it", async () => {
    let nowMs = Date.UTC(2026, 0, 2, 4, 7, 8);
    await lab.start({ now: () => nowMs });
    const pull = lab.transfer.pull.bind(lab.transfer);
    const begun = Promise.withResolvers<void>();
    lab.transfer.pull = (request) => {
      request.onArriving?.(15 * 60_000);
      request.onProgress({ bytes: 3 * 2 ** 20, total: 23 * 2 ** 20 });
      begun.resolve();
      return pull(request);
    };
    const job = await offered(trainer("save()", { dataset: DATASET, datasetName: "ds4" }));
    await begun.promise;
    nowMs += 10_000;
    await lab.logged(
      job,
      "waiting for dataset ds4: 3 of 23 MiB, nothing since 04:07:08 UTC; fails at 04:22; go on with `waybill push PATH --announce`",
    );
    arrive();
    expect((await lab.outcome(job))?.state).toBe("completed");
    const pulled = lab.ofType(job, "transfer").filter(({ what }) => what === "dataset");
    expect(pulled.map(({ done }) => done)).toEqual([false, true]);
    expect(lab.ofType(job, "log")).toHaveLength(1);
  });

  it("a failure of one artifact calls the other one off", async () => {
    await lab.start();
    lab.transfer.trees.delete(CODE);
    const job = await offered(trainer("save()", { dataset: DATASET, code: CODE }));
    expect(await lab.outcome(job)).toMatchObject({
      state: "failed",
      reason: `no artifact ${CODE}`,
    });
  });
});

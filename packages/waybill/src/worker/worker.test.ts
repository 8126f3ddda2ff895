import { readFile, readdir, rm, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { JobAssignment } from "@waybill/sdk/protocol";
import { assign } from "./fakes.fixture.ts";
import { WorkerLab, trainer } from "./worker-lab.fixture.ts";

const WAIT = { timeout: 15_000, interval: 5 };
let lab: WorkerLab;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(() => lab[Symbol.asyncDispose]());

describe("a worker", () => {
  it("kills the trainer of a revoked attempt and writes nothing more (I11)", async () => {
    await lab.start();
    const job = lab.offer(trainer(`console.log(process.pid); setInterval(() => 0, 1000); save();`));
    await vi.waitFor(() => expect(lab.ofType(job, "log")).toHaveLength(1), WAIT);
    const pid = Number(lab.ofType(job, "log")[0]?.line);
    lab.hub.stale = job;
    await vi.waitFor(
      () =>
        expect(lab.events).toContainEqual({
          type: "job.ended",
          job,
          attempt: 1,
          outcome: "dropped",
        }),
      WAIT,
    );
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    expect(lab.hub.ended.get(job)).toBeUndefined();
    expect(lab.hub.publications).toEqual([]);
  });

  it("gives up an attempt the hub revokes, and its slot with it", async () => {
    await lab.start();
    const job = lab.offer(trainer(`console.log("up"); setInterval(() => 0, 1000); save();`));
    await lab.logged(job, "up");
    lab.session.receive({ type: "job.revoke", job, attempt: 2, reason: "not this one" });
    lab.session.receive({ type: "job.revoke", job, attempt: 1, reason: "cancelled elsewhere" });
    await vi.waitFor(
      () => expect(lab.session.sent.at(-1)).toEqual({ type: "job.released", job, attempt: 1 }),
      WAIT,
    );
    expect(lab.hub.ended.get(job)).toBeUndefined();
  });

  it("says that the slot is free when the hub revokes what is not held any more", async () => {
    await lab.start();
    const { job } = assign({ command: ["x"] });
    lab.session.receive({ type: "job.revoke", job, attempt: 1, reason: "the job is queued" });
    expect(lab.session.sent).toContainEqual({ type: "job.released", job, attempt: 1 });
  });

  it("gives up a revoked attempt also while its output waits for numbers", async () => {
    lab.hub.seqReserve = 0;
    await lab.start();
    const flood = `for (let i = 0; i < 5000; i++) console.log(i); setInterval(() => 0, 1000);`;
    const assignment = { ...trainer(flood), seqReserved: 1002 };
    const job = lab.offer(assignment);
    await vi.waitFor(() => expect(lab.feed.readers.get(job)?.lastSeq).toBeGreaterThan(400), WAIT);
    lab.session.receive({ type: "job.revoke", job, attempt: 1, reason: "taken" });
    await vi.waitFor(() => expect(lab.session.sent.at(-1)?.type).toBe("job.released"), WAIT);
    expect(lab.hub.events(job).every(({ seq }) => seq <= 1002)).toBe(true);
  });

  it("ends running jobs as interrupted when it is stopped", async () => {
    const worker = await lab.start();
    const job = lab.offer(trainer(`console.log("up"); setInterval(() => 0, 1000); save();`));
    await lab.logged(job, "up");
    await worker.stop();
    expect(lab.hub.ended.get(job)?.state).toBe("interrupted");
    expect(lab.hub.publications).toEqual([]);
    expect(await readdir(lab.path("data/spool"))).toEqual([]);
  });

  it("declines what it has no slot for and what it must not run", async () => {
    await lab.start({ commands: false, trainers: { wait: ["sleep", "60"] } });
    const job = lab.offer(assign({ trainer: "wait" }));
    const declined = (one: JobAssignment) => {
      lab.offer(one);
      return lab.session.sent.at(-1);
    };
    expect(lab.session.sent.at(-1)).toEqual({ type: "job.accept", job, attempt: 1 });
    expect(declined(assign({ trainer: "wait" }))).toMatchObject({
      type: "job.decline",
      reason: "has no free slot",
    });
    await vi.waitFor(() => expect(lab.states(job)).toContain("running"), WAIT);
    lab.feed.command({ id: "c1", job, name: "cancel" });
    await lab.outcome(job);
    await vi.waitFor(() => expect(lab.session.sent.at(-1)?.type).toBe("job.released"), WAIT);
    expect(declined(assign({ command: ["true"] }))).toMatchObject({
      type: "job.decline",
      reason: "runs named trainers only",
    });
    const sneaky = lab.offer(assign({ trainer: "wait", env: { LD_PRELOAD: "/tmp/x.so" } }));
    expect((await lab.outcome(sneaky))?.reason).toMatch(/may not bring environment/);
  });

  it("does not run what it could not accept because the socket had closed", async () => {
    await lab.start();
    lab.session.online = false;
    const job = lab.offer(trainer("save()"));
    lab.session.online = true;
    await new Promise(setImmediate);
    expect(lab.feed.readers.has(job)).toBe(false);
    expect(await readdir(lab.path("data/spool"))).toEqual([]);
  });

  it("fails a job it has accepted and then cannot begin, rather than keep it", async () => {
    await lab.start();
    await rm(lab.path("data/spool"), { recursive: true });
    await writeFile(lab.path("data/spool"), "in the way");
    const job = lab.offer(trainer("save()"));
    expect((await lab.outcome(job))?.reason).toMatch(/the worker could not begin/);
    await rm(lab.path("data/spool"));
  });

  it("refuses to start twice on one data directory, and says who has it", async () => {
    const first = await lab.start();
    const second = lab.start();
    await expect(second).rejects.toMatchObject({ code: "conflict" });
    await expect(second).rejects.toThrow(new RegExp(`process id ${process.pid}`));
    await first.stop();
    await lab.start();
  });

  it("keeps its instance across restarts", async () => {
    const instance = async () => readFile(lab.path("data/instance"), "utf8");
    const first = await lab.start();
    const before = await instance();
    await first.stop();
    await lab.start();
    expect(await instance()).toBe(before);
  });
});

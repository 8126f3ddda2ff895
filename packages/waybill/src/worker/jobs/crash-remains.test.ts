// What is found after the worker or its machine went down at a bad moment (trainer.md §6).
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as v from "valibot";
import { ArtifactId, type JobAssignment, type JobEvent } from "@waybill/sdk/protocol";
import type { replaceFile } from "../data-dir/files.ts";
import { listGroup } from "../trainers/proc.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";
import { leaveRecord, leaveRunning } from "./left-trainer.fixture.ts";
import { newRecord } from "./run-parts.ts";
import { openSpool } from "./spool.ts";

const WAIT = { timeout: 15_000, interval: 5 };
const IDLE = `console.log("up"); process.on("SIGTERM", () => 0); setInterval(() => 0, 1000);`;
/** The disk is full when the trainer's process id is to be noted, and from then on. */
const full = vi.hoisted(() => ({ value: false }));
vi.mock("../data-dir/files.ts", async (original) => {
  const real = await original<{ replaceFile: typeof replaceFile }>();
  const replace: typeof replaceFile = async (path, text, sync) => {
    if (full.value && text.includes('"trainer":{')) throw new Error("ENOSPC: no space left");
    await real.replaceFile(path, text, sync);
  };
  return { ...real, replaceFile: replace };
});

let lab: WorkerLab;
let child: ChildProcess | undefined;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(async () => {
  full.value = false;
  await lab[Symbol.asyncDispose]();
  child?.kill("SIGKILL");
  child = undefined;
});

async function running(assignment: JobAssignment) {
  const left = await leaveRunning(lab, assignment);
  child = left.child;
  return left;
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);
const isGone = async (pid: number) =>
  expect((await listGroup(pid)).filter(({ zombie }) => !zombie)).toEqual([]);
const said = () => lab.events.flatMap((one) => (one.type === "log" ? [one.message] : []));
const outcomes = () => lab.events.flatMap((one) => (one.type === "job.ended" ? [one.outcome] : []));
const line = (text: string) => ({ type: "log", stream: "stdout", line: text }) as const;

describe("a worker that comes back", () => {
  it("gives up an attempt whose log is shorter than what the room has of it", async () => {
    const assignment = trainer("save()");
    const { job, attempt } = assignment;
    const paths = await openSpool(lab.path("data/spool"), job, attempt);
    await writeFile(paths.stdout, "up\n");
    const time = new Date(0).toISOString();
    const stored = ["up", "one", "two"].map((text, i): JobEvent => ({
      ...line(text),
      seq: assignment.firstSeq + i,
      time,
      attempt,
    }));
    lab.hub.stored.set(job, [...stored]);
    const record = { ...newRecord(assignment), stage: "training" as const };
    await leaveRecord(paths, { ...record, trainer: { pid: 1, startId: "x" } }, [line("up")]);
    await lab.start();
    await vi.waitFor(() => expect(outcomes()).toEqual(["dropped"]), WAIT);
    expect(said().join()).toMatch(/attempt 1 is given up: .*\(was the power lost\?\)/);
    expect(lab.hub.events(job)).toEqual(stored);
    const renewed = lab.hub.calls.length;
    await vi.waitFor(() => expect(stat(paths.dir)).rejects.toThrow("ENOENT"), WAIT);
    expect(lab.hub.calls).toHaveLength(renewed);
    expect((await lab.outcome(lab.offer(trainer("save()")))).state).toBe("completed");
  });

  it("goes on with the later of two attempts, and ends what the earlier left", async () => {
    const earlier = trainer(IDLE);
    const first = await running(earlier);
    const { job } = earlier;
    const go = lab.path("go");
    const code = `console.log("up"); setInterval(() => fs.existsSync("${go}") && (save(), process.exit(0)), 5);`;
    const later = { ...trainer(code), job, attempt: 2, firstSeq: 200_000, seqReserved: 300_000 };
    await leaveRunning(lab, later);
    await lab.start();
    const resumed = lab.events.filter(({ type }) => type === "job.resumed");
    expect(resumed).toEqual([{ type: "job.resumed", job, attempt: 2 }]);
    await isGone(first.pid);
    await expect(stat(first.paths.dir)).rejects.toThrow("ENOENT");
    await writeFile(go, "");
    expect(await lab.outcome(job)).toMatchObject({ attempt: 2, state: "completed" });
  });

  it("interrupts an attempt that was to begin training and has no output yet", async () => {
    const assignment = trainer("save()");
    const paths = await openSpool(lab.path("data/spool"), assignment.job, assignment.attempt);
    await leaveRecord(paths, { ...newRecord(assignment), stage: "training" }, []);
    await lab.start();
    expect(await lab.outcome(assignment.job)).toMatchObject({
      state: "interrupted",
      reason: "the worker was killed while it started the trainer",
    });
  });

  it("keeps the dataset of a trainer that still runs, however full its cache", async () => {
    const [mine, other] = ["d", "e"].map((one) => v.parse(ArtifactId, one.repeat(64)));
    if (mine === undefined || other === undefined) throw new Error("no artifacts");
    for (const id of [mine, other]) {
      await mkdir(lab.path(id));
      await writeFile(lab.path(id, "x"), "1234567890");
      lab.transfer.trees.set(id, lab.path(id));
    }
    const before = await lab.start({ cacheBytes: 15 });
    await lab.outcome(lab.offer(trainer("save()", { dataset: mine })));
    await before.stop();
    const assignment = trainer(IDLE, { dataset: mine });
    await running(assignment);
    await lab.start({ cacheBytes: 15, slots: 2 });
    await lab.outcome(lab.offer(trainer("save()", { dataset: other })));
    const kept = lab.path("data/cache/artifacts", mine, "files/x");
    expect(await readFile(kept, "utf8")).toBe("1234567890");
    lab.feed.command({ id: "c", job: assignment.job, name: "cancel" });
    await lab.outcome(assignment.job);
    await lab.outcome(lab.offer(trainer("save()", { dataset: other })));
  });
});

describe("a trainer that cannot be followed", () => {
  it("is gone before its job is told failed", async () => {
    full.value = true;
    await lab.start();
    const code = `fs.writeFileSync("${lab.path("pid")}", String(process.pid)); ${IDLE}`;
    const job = lab.offer(trainer(code));
    expect(await lab.outcome(job)).toMatchObject({
      state: "failed",
      reason: expect.stringMatching(/^ENOSPC/),
    });
    // It may have been killed before it could write this.
    const pid = await readFile(lab.path("pid"), "utf8").catch(() => undefined);
    expect(pid === undefined || !isAlive(Number(pid))).toBe(true);
  });

  it("is gone, too, when a former daemon had started it", async () => {
    const assignment = trainer(IDLE);
    const { pid, paths } = await running(assignment);
    await rm(paths.stdout);
    await lab.start();
    expect((await lab.outcome(assignment.job)).state).toBe("failed");
    await isGone(pid);
  });
});

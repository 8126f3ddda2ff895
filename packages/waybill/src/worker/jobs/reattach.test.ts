// A trainer runs on while its daemon is dead; the next daemon goes on with it (trainer.md §6).
import type { ChildProcess } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { JobAssignment, NewJobEvent } from "@waybill/sdk/protocol";
import { TEST_TIMING } from "../fakes.fixture.ts";
import { listGroup } from "../trainers/proc.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";
import { leaveRunning } from "./left-trainer.fixture.ts";
import type { RunRecord } from "./run-journal.ts";

const WAIT = { timeout: 15_000, interval: 5 };
let lab: WorkerLab;
let child: ChildProcess | undefined;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(async () => {
  await lab[Symbol.asyncDispose]();
  child?.kill("SIGKILL");
});

async function leave(
  assignment: JobAssignment,
  events?: readonly NewJobEvent[],
  record?: Partial<RunRecord>,
) {
  const running = await leaveRunning(lab, assignment, events, record);
  child = running.child;
  return running;
}

/** Prints `up`, then a line for each byte that the test puts into the file `go`, and ends with the byte `x`. */
const COUNTER = `console.log("up"); let n = 0;
  setInterval(() => {
    const go = fs.existsSync("go") ? fs.readFileSync("go", "utf8") : "";
    for (; n < go.length; n++) {
      if (go[n] === "x") { save(); process.exit(0); }
      console.log("line " + n);
    }
  }, 5);`;
const RUNNING = { type: "state", state: "running" } as const;
const UP = { type: "log", stream: "stdout", line: "up" } as const;

describe("a daemon that comes back while its trainer runs", () => {
  it("goes on with its output exactly after the last logged line and publishes its model (I6)", async () => {
    const assignment = trainer(COUNTER);
    const logged = [RUNNING, UP, { type: "log", stream: "stdout", line: "line 0" }] as const;
    const { paths } = await leave(assignment, logged);
    const go = join(paths.work, "go");
    await writeFile(go, "abc");
    await vi.waitFor(
      async () => expect(await readFile(paths.stdout, "utf8")).toContain("line 2"),
      WAIT,
    );
    await lab.start();
    await lab.logged(assignment.job, "line 2");
    expect(lab.hub.calls).toContain("renewLease");
    await writeFile(go, "abcdx");
    expect((await lab.outcome(assignment.job))?.state).toBe("completed");
    expect(lab.ofType(assignment.job, "log").map(({ line }) => line)).toEqual([
      "up",
      ...[0, 1, 2, 3].map((n) => `line ${n}`),
    ]);
    expect(lab.states(assignment.job)).toEqual(["running", "completed"]);
    const seqs = lab.hub.events(assignment.job).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, i) => assignment.firstSeq + i));
  });

  it("finds a trainer whose process id its daemon had no time to note", async () => {
    const assignment = trainer(COUNTER);
    const { paths } = await leave(assignment, [], { trainer: undefined });
    await lab.start();
    await lab.logged(assignment.job, "up");
    await writeFile(join(paths.work, "go"), "x");
    expect((await lab.outcome(assignment.job))?.state).toBe("completed");
    expect(lab.states(assignment.job)).toEqual(["running", "completed"]);
  });

  it("sees that it is paused, and does what was asked and not yet done", async () => {
    const assignment = trainer(COUNTER);
    const pause = { type: "command", id: "c1", name: "pause", by: "ada" } as const;
    const { paths, pid } = await leave(assignment, [RUNNING, UP, { ...pause, stage: "received" }]);
    await lab.start();
    const stages = () =>
      lab.ofType(assignment.job, "command").map(({ by, stage }) => `${by} ${stage}`);
    await vi.waitFor(() => expect(stages()).toEqual(["ada received", "ada applied"]), WAIT);
    const isStopped = async () =>
      expect((await listGroup(pid)).map(({ stopped }) => stopped)).toEqual([true, true]);
    await vi.waitFor(isStopped, WAIT);
    expect(lab.feed.command({ id: "c1", job: assignment.job, name: "pause" })).toMatchObject([
      { stage: "applied" },
    ]);
    lab.feed.command({ id: "c2", job: assignment.job, name: "resume" });
    await writeFile(join(paths.work, "go"), "x");
    expect((await lab.outcome(assignment.job))?.state).toBe("completed");
    expect(lab.states(assignment.job)).toEqual(["running", "paused", "running", "completed"]);
  });

  it("notices that it was stopped by somebody else meanwhile", async () => {
    const assignment = trainer(COUNTER);
    const { paths, pid } = await leave(assignment, [RUNNING, UP]);
    process.kill(-pid, "SIGSTOP");
    await lab.start();
    await vi.waitFor(() => expect(lab.states(assignment.job)).toEqual(["running", "paused"]), WAIT);
    lab.feed.command({ id: "c2", job: assignment.job, name: "resume" });
    await writeFile(join(paths.work, "go"), "x");
    expect((await lab.outcome(assignment.job))?.state).toBe("completed");
  });

  it("goes on ending it with what is left of the grace, without a second SIGTERM", async () => {
    const assignment = trainer(
      `process.on("SIGTERM", () => console.log("term")); save(); console.log("up"); setInterval(() => 0, 1000);`,
    );
    const stop = { type: "command", id: "s", name: "stop", by: "ada", stage: "received" } as const;
    const ending = { why: "stop", killAt: Date.now() + 300, sent: true } as const;
    await leave(assignment, [RUNNING, stop, { type: "state", state: "stopping" }], {
      ending,
    });
    await lab.start({ timing: { ...TEST_TIMING, stopGraceMs: 60_000 } });
    expect((await lab.outcome(assignment.job))?.state).toBe("completed");
    expect(lab.ofType(assignment.job, "log").map(({ line }) => line)).toEqual(["up"]);
    expect(lab.ofType(assignment.job, "result")).toMatchObject([{ stoppedEarly: true }]);
    expect(lab.ofType(assignment.job, "command").at(-1)).toMatchObject({
      id: "s",
      stage: "applied",
    });
  });

  it("waits on for what the trainer was asked, and takes its answer", async () => {
    const assignment = trainer(
      `console.log("up"); const look = setInterval(() => {
        if (!fs.existsSync("go")) return;
        clearInterval(look); say({adjusted: {lr: 0.1}}); save(); process.exit(0);
      }, 5);`,
    );
    const adjust = {
      type: "command",
      id: "a",
      name: "adjust",
      by: "ada",
      values: { lr: 0.1 },
    } as const;
    const { paths } = await leave(assignment, [RUNNING, { ...adjust, stage: "received" }]);
    await lab.start();
    await writeFile(join(paths.work, "go"), "");
    expect((await lab.outcome(assignment.job))?.state).toBe("completed");
    expect(lab.ofType(assignment.job, "command").at(-1)).toMatchObject({
      stage: "applied",
      by: "ada",
    });
  });

  it("knows what the trainer had confirmed, and tells the hub", async () => {
    const assignment = trainer(COUNTER);
    const { paths } = await leave(assignment, [RUNNING, UP], { adjusted: { lr: 0.1 } });
    await lab.start();
    await vi.waitFor(() => expect(lab.hub.adjusted).toEqual({ lr: 0.1 }), WAIT);
    await writeFile(join(paths.work, "go"), "x");
    expect((await lab.outcome(assignment.job))?.state).toBe("completed");
  });

  it("brings a copy of a checkpoint to the room that was on its way, although the trainer is gone", async () => {
    const assignment = trainer(COUNTER);
    const { paths, pid } = await leave(assignment);
    process.kill(-pid, "SIGKILL");
    const place = join(paths.checkpoints, "1");
    await mkdir(join(place, "files"), { recursive: true });
    await writeFile(join(place, "files", "w"), "1");
    await writeFile(join(place, "checkpoint.json"), JSON.stringify({ data: { epoch: 3 } }));
    await lab.start({ kind: "ephemeral" });
    expect((await lab.outcome(assignment.job))?.state).toBe("interrupted");
    expect(lab.hub.checkpoints).toMatchObject([{ data: { epoch: 3 } }]);
    const types = lab.hub.events(assignment.job).map(({ type }) => type);
    expect(types.filter((type) => type !== "log")).toEqual(["state", "checkpoint", "state"]);
  });

  it("finds itself fenced when its lease ran out, kills the trainer and publishes nothing (I11)", async () => {
    const assignment = trainer(`save(); ${COUNTER}`);
    const { pid } = await leave(assignment);
    lab.hub.stale = assignment.job;
    await lab.start();
    await vi.waitFor(async () => {
      expect((await listGroup(pid)).filter(({ zombie }) => !zombie)).toEqual([]);
    }, WAIT);
    await vi.waitFor(
      () =>
        expect(lab.events).toContainEqual(
          expect.objectContaining({ type: "job.ended", outcome: "dropped" }),
        ),
      WAIT,
    );
    expect(lab.hub.ended.size).toBe(0);
    expect(lab.hub.publications).toEqual([]);
    expect(lab.transfer.pushed).toEqual([]);
  });
});

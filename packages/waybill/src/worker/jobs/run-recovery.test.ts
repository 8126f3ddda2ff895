import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as v from "valibot";
import { ArtifactId, type JobAssignment, ModelId, type NewJobEvent } from "@waybill/sdk/protocol";
import { EventLog } from "../events/event-log.ts";
import {
  FakeFeed,
  FakeHub,
  FakeSession,
  ROOM,
  TEST_TIMING,
  assign,
  fakeDigest,
  fakeTransfers,
} from "../fakes.fixture.ts";
import { type Worker, createWorker } from "../worker.ts";
import type { RunRecord } from "./run-journal.ts";
import { newRecord } from "./run-parts.ts";
import { openSpool } from "./spool.ts";

const WAIT = { timeout: 10_000, interval: 5 };
let dir: string;
let hub: FakeHub;
let worker: Worker | undefined;
const command = [
  process.execPath,
  "-e",
  `require("fs").writeFileSync(process.env.WAYBILL_OUTPUT + "/m", "x")`,
];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-recovery-"));
  hub = new FakeHub();
});

afterEach(async () => {
  await worker?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** Leaves a spool as a daemon that was killed does. */
async function leave(
  assignment: JobAssignment,
  record: Partial<RunRecord>,
  events: readonly NewJobEvent[] = [],
  printed: { readonly stdout?: string; readonly stderr?: string } = {},
): Promise<void> {
  const paths = await openSpool(join(dir, "spool"), assignment.job, assignment.attempt);
  await mkdir(paths.output);
  await writeFile(join(paths.output, "model.bin"), "weights");
  await writeFile(paths.stdout, printed.stdout ?? "");
  await writeFile(paths.stderr, printed.stderr ?? "");
  await writeFile(paths.journal, JSON.stringify({ ...newRecord(assignment), ...record }));
  const log = await EventLog.open({
    path: paths.events,
    attempt: 1,
    firstSeq: assignment.firstSeq,
    seqReserved: assignment.seqReserved,
    now: Date.now,
    log: () => undefined,
  });
  log.appendAll(events);
  await log.close();
}

function spoolOf({ job, attempt }: JobAssignment): string {
  return join(dir, "spool", `${job}-${attempt}`);
}

async function restart(): Promise<void> {
  const session = new FakeSession();
  worker = createWorker({
    hub,
    room: ROOM,
    name: "lab-1",
    kind: "desktop",
    dataDir: dir,
    version: "0.0.0",
    createSession: () => session,
    createFeed: () => new FakeFeed(),
    transfer: fakeTransfers(),
    digest: fakeDigest,
    onEvent: () => undefined,
    timing: TEST_TIMING,
  });
  await worker.start();
}

async function outcome(job: JobAssignment["job"]) {
  await vi.waitFor(() => expect(hub.ended.get(job)).toBeDefined(), WAIT);
  return hub.ended.get(job);
}

describe("a restarted worker", () => {
  it("begins a job again whose trainer had not been started", async () => {
    const assignment = assign({ command });
    await leave(assignment, { stage: "preparing" }, [
      { type: "log", stream: "waybill", line: "a" },
    ]);
    await restart();
    expect((await outcome(assignment.job))?.state).toBe("completed");
    expect(hub.events(assignment.job)[0]).toMatchObject({ seq: assignment.firstSeq, line: "a" });
  });

  it("tells the predictions that its predecessor had not told behind the result", async () => {
    const assignment = assign({ command });
    const rows = Array.from({ length: 20 }, (_, i) => ({ i, text: "x".repeat(4000) }));
    const predicted = { rows, leftOut: 0, more: false };
    const result = { stoppedEarly: false, data: {}, predicted };
    await leave(assignment, { stage: "publishing", result }, [
      { type: "result", data: {}, files: 1, bytes: 7, stoppedEarly: false },
      { type: "predictions", first: 0, rows: rows.slice(0, 6) },
    ]);
    await restart();
    expect((await outcome(assignment.job))?.state).toBe("completed");
    const events = hub.events(assignment.job);
    expect(events.filter(({ type }) => type === "result")).toHaveLength(1);
    expect(events.flatMap((event) => (event.type === "predictions" ? event.rows : []))).toEqual(
      rows,
    );
  });

  it("interrupts a job whose trainer is gone without a status", async () => {
    const assignment = assign({ command });
    const printed = { stdout: "bye\n" };
    await leave(assignment, { stage: "training", trainer: { pid: 1, startId: "x" } }, [], printed);
    await restart();
    expect(await outcome(assignment.job)).toMatchObject({
      state: "interrupted",
      reason: expect.stringMatching(/gone, without an exit status/),
    });
    expect(hub.events(assignment.job)).toMatchObject([{ line: "bye" }, { state: "interrupted" }]);
    expect(hub.publications).toEqual([]);
  });

  it("takes a status that the launcher left for the trainer's end", async () => {
    const assignment = assign({ command });
    await leave(assignment, { stage: "training", trainer: { pid: 1, startId: "x" } });
    await writeFile(join(spoolOf(assignment), "status"), "3\n");
    await restart();
    expect(await outcome(assignment.job)).toMatchObject({
      state: "failed",
      reason: "the trainer exited with code 3",
    });
  });

  it("publishes a training that had ended, telling its result once", async () => {
    const assignment = assign({ command, alias: "prod" });
    const result = { stoppedEarly: false, data: { loss: 0.5 } };
    await leave(assignment, { stage: "publishing", result }, [
      { type: "metric", data: { loss: 0.5 } },
      { type: "result", ...result, files: 1, bytes: 7 },
    ]);
    await restart();
    expect((await outcome(assignment.job))?.state).toBe("completed");
    expect(hub.publications).toMatchObject([
      { alias: "prod", training: { metrics: { loss: 0.5 } } },
    ]);
    const types = hub.events(assignment.job).map(({ type }) => type);
    expect(types.filter((type) => type === "result")).toHaveLength(1);
    expect(types.slice(-2)).toEqual(["published", "state"]);
  });

  it("tells the hub of a model that its predecessor had put into the store by itself", async () => {
    const assignment = assign({ command });
    const stored = {
      artifact: v.parse(ArtifactId, "b".repeat(64)),
      bytes: 7,
      sentBytes: 7,
      seconds: 1,
    };
    const result = { stoppedEarly: false, data: {} };
    const model = v.parse(ModelId, "00112233");
    await leave(assignment, { stage: "publishing", result, stored, model });
    await restart();
    expect((await outcome(assignment.job))?.state).toBe("completed");
    expect(hub.calls).toContain("recordModel");
    expect(hub.publications).toMatchObject([{ id: model, artifact: stored.artifact }]);
  });

  it("publishes a training of whose end only the exit was noted, with all it had printed", async () => {
    const assignment = assign({ command });
    await leave(
      assignment,
      { stage: "training", exit: { code: 0, signal: null } },
      [
        { type: "state", state: "running" },
        { type: "metric", data: { loss: 0.5 } },
      ],
      { stdout: `{"loss":0.5}\n{"loss":0.25}\n{"type":"result","best":2}\nbye\n`, stderr: "w\n" },
    );
    await restart();
    expect((await outcome(assignment.job))?.state).toBe("completed");
    const metrics = { loss: 0.25, best: 2 };
    expect(hub.publications).toMatchObject([{ training: { metrics, stopped_early: false } }]);
    const events = hub.events(assignment.job);
    expect(events.filter(({ type }) => type === "metric")).toMatchObject([
      { data: { loss: 0.5 } },
      { data: { loss: 0.25 } },
    ]);
    expect(events.flatMap((event) => (event.type === "log" ? [event.line] : [])).sort()).toEqual([
      "bye",
      "w",
    ]);
    expect(events.find(({ type }) => type === "result")).toMatchObject({ data: metrics });
  });

  it.each([
    [
      { code: 3, signal: null },
      { state: "failed", reason: /exited with code 3: no memory/ },
    ],
    [
      { code: null, signal: "SIGSEGV" },
      { state: "failed", reason: /was killed by SIGSEGV/ },
    ],
    [
      { code: 143, signal: null, ending: "stop" as const },
      { state: "completed", reason: /^$/ },
    ],
    [
      { code: 0, signal: null, ending: "cancel" as const },
      { state: "cancelled", reason: /^$/ },
    ],
    [
      { code: 0, signal: null, ending: "shutdown" as const },
      { state: "interrupted", reason: /./ },
    ],
  ])("goes on after a trainer's noted end %o", async (exit, { state, reason }) => {
    const assignment = assign({ command });
    await leave(assignment, { stage: "training", exit }, [], { stderr: "no memory\n" });
    await restart();
    const end = await outcome(assignment.job);
    expect(end?.state).toBe(state);
    expect(end?.reason ?? "").toMatch(reason);
    expect(hub.publications).toMatchObject(
      state === "completed" ? [{ training: { stopped_early: true } }] : [],
    );
  });

  it("tells an outcome again that the hub may not have heard, with the same events", async () => {
    const assignment = assign({ command });
    const end = { outcome: "failed", reason: "r", exitCode: 1 } as const;
    await leave(assignment, { stage: "ending", end }, [
      { type: "log", stream: "stdout", line: "a" },
      { type: "state", state: "failed", reason: "r", exitCode: 1 },
    ]);
    await restart();
    expect(await outcome(assignment.job)).toMatchObject({ state: "failed", reason: "r" });
    expect(hub.events(assignment.job).map(({ type }) => type)).toEqual(["log", "state"]);
  });

  it("takes an outcome that is in the log for told, whatever the journal says", async () => {
    const assignment = assign({ command });
    const model = v.parse(ModelId, "00112233");
    const result = { stoppedEarly: false, data: {} };
    await leave(assignment, { stage: "publishing", result }, [
      {
        type: "published",
        model,
        modelType: assignment.spec.modelType,
        artifact: v.parse(ArtifactId, "a".repeat(64)),
        bytes: 7,
        tags: [],
        s3Path: "rooms/lab/models/x/",
      },
      { type: "state", state: "completed" },
    ]);
    await restart();
    expect(await outcome(assignment.job)).toMatchObject({ state: "completed", model });
    expect(hub.calls).not.toContain("publishModel");
    expect(hub.events(assignment.job).map(({ type }) => type)).toEqual(["published", "state"]);
  });

  it("drops a job that is no longer its own (I11)", async () => {
    const assignment = assign({ command });
    hub.stale = assignment.job;
    const result = { stoppedEarly: false, data: {} };
    await leave(assignment, { stage: "publishing", result });
    await restart();
    await vi.waitFor(() => expect(hub.calls).toContain("publishModel"), WAIT);
    expect(hub.ended.size).toBe(0);
  });
});

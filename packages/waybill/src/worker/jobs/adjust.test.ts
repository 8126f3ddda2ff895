// What a trainer is told while it runs, and what its answers become (trainer.md §8).
import { mkdir } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TEST_TIMING } from "../fakes.fixture.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

const WAIT = { timeout: 15_000, interval: 5 };
let lab: WorkerLab;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(() => lab[Symbol.asyncDispose]());

/** Takes what it is told, answers, and ends when it is told `end`. */
const OBEDIENT = `console.log("up"); save();
  require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const { type, values } = JSON.parse(line);
    if (type === "checkpoint") say({ type, path: "model.bin", step: 7 });
    else say({ adjusted: values });
    if (values?.end) process.exit(0);
  });`;
const DEAF = `console.log("up"); save(); setTimeout(() => 0, 60_000);`;

describe("a trainer that is told something", () => {
  it("acknowledges new values and checkpoints, seen by every viewer with who and what", async () => {
    await lab.start();
    const job = lab.offer(trainer(OBEDIENT));
    await lab.logged(job, "up");
    const acks = lab.feed.command({ id: "a1", job, name: "adjust", values: { lr: 0.01 } });
    await vi.waitFor(
      () => expect(acks.map(({ stage }) => stage)).toEqual(["received", "applied"]),
      WAIT,
    );
    const saved = lab.feed.command({ id: "k1", job, name: "checkpoint" });
    const wrote = { stage: "applied", message: "the trainer wrote model.bin" };
    await vi.waitFor(() => expect(saved.at(-1)).toEqual(wrote), WAIT);
    expect(lab.feed.command({ id: "a1", job, name: "adjust", values: { lr: 0.01 } })).toMatchObject(
      [{ stage: "applied" }],
    );
    lab.feed.command({ id: "a2", job, name: "adjust", values: { end: true } });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "command")).toMatchObject([
      { id: "a1", name: "adjust", by: "ada", stage: "received", values: { lr: 0.01 } },
      { id: "a1", name: "adjust", by: "ada", stage: "applied", values: { lr: 0.01 } },
      { id: "k1", name: "checkpoint", stage: "received" },
      { id: "k1", name: "checkpoint", stage: "applied" },
      { id: "a2", name: "adjust", stage: "received", values: { end: true } },
      { id: "a2", name: "adjust", stage: "applied", values: { end: true } },
    ]);
    expect(lab.ofType(job, "checkpoint")).toMatchObject([{ data: { path: "model.bin", step: 7 } }]);
  });

  it("is told, when it starts, what was asked before", async () => {
    await lab.start();
    const gate = Promise.withResolvers<void>();
    lab.transfer.pullGate = gate.promise;
    const job = lab.offer(trainer(OBEDIENT, { dataset: "d".repeat(64) }));
    await mkdir(lab.path("dataset"));
    lab.transfer.trees.set("d".repeat(64), lab.path("dataset"));
    await vi.waitFor(() => expect(lab.feed.readers.has(job)).toBe(true), WAIT);
    const acks = lab.feed.command({ id: "a1", job, name: "adjust", values: { lr: 1 } });
    const early = lab.feed.command({ id: "k1", job, name: "checkpoint" });
    await vi.waitFor(() => expect(early).toHaveLength(1), WAIT);
    const kept = { stage: "received", message: "it takes effect when the trainer has started" };
    expect([...acks, ...early]).toEqual([kept, kept]);
    gate.resolve();
    await vi.waitFor(() => expect(acks.at(-1)?.stage).toBe("applied"), WAIT);
    await vi.waitFor(() => expect(early.at(-1)?.stage).toBe("applied"), WAIT);
    lab.feed.command({ id: "a2", job, name: "adjust", values: { end: true } });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "command").slice(0, 2)).toMatchObject([kept, kept]);
  });

  it("has the hub know at once what it has set", async () => {
    await lab.start({ timing: { ...TEST_TIMING, leaseMs: 60_000 } });
    const job = lab.offer(trainer(OBEDIENT));
    await lab.logged(job, "up");
    lab.feed.command({ id: "a1", job, name: "adjust", values: { lr: 0.01, mode: "a" } });
    await vi.waitFor(() => expect(lab.hub.adjusted).toEqual({ lr: 0.01, mode: "a" }), WAIT);
    lab.feed.command({ id: "a2", job, name: "adjust", values: { lr: 0.02 } });
    await vi.waitFor(() => expect(lab.hub.adjusted).toEqual({ lr: 0.02, mode: "a" }), WAIT);
    lab.feed.command({ id: "a3", job, name: "adjust", values: { end: true } });
    await lab.outcome(job);
  });

  it("begins with what an attempt before was given, told before all else", async () => {
    await lab.start();
    const gate = Promise.withResolvers<void>();
    lab.transfer.pullGate = gate.promise;
    const dataset = "d".repeat(64);
    await mkdir(lab.path("dataset"));
    lab.transfer.trees.set(dataset, lab.path("dataset"));
    const code = `console.log("config", fs.readFileSync(env.WAYBILL_CONFIG, "utf8").replace(/\\s/g, "")); ${OBEDIENT}`;
    const adjusted = { lr: 0.01, mode: "a" };
    const assignment = trainer(code, { dataset, config: { lr: 0.1, epochs: 3 } });
    const job = lab.offer({ ...assignment, attempt: 2, adjusted });
    await vi.waitFor(() => expect(lab.feed.readers.has(job)).toBe(true), WAIT);
    const acks = lab.feed.command({ id: "a1", job, name: "adjust", values: { lr: 0.5 } });
    gate.resolve();
    await vi.waitFor(() => expect(acks.at(-1)?.stage).toBe("applied"), WAIT);
    await vi.waitFor(() => expect(lab.hub.adjusted).toEqual({ lr: 0.5, mode: "a" }), WAIT);
    lab.feed.command({ id: "a2", job, name: "adjust", values: { end: true } });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "log").map(({ stream, line }) => `${stream} ${line}`)).toEqual([
      'waybill beginning with what was adjusted before: {"lr":0.01,"mode":"a"}',
      'stdout config {"lr":0.01,"epochs":3}',
      "stdout up",
      'stdout {"adjusted":{"lr":0.01,"mode":"a"}}',
      'stdout {"adjusted":{"lr":0.5}}',
      'stdout {"adjusted":{"end":true}}',
    ]);
    expect(lab.ofType(job, "command")).toMatchObject([
      { id: "a1", stage: "received" },
      { id: "a1", stage: "applied", values: { lr: 0.5 } },
      { id: "a2", stage: "received" },
      { id: "a2", stage: "applied" },
    ]);
  });

  it("that is paused has what it is asked kept for when it runs again, and the hub is told so", async () => {
    await lab.start();
    const job = lab.offer(trainer(OBEDIENT));
    await lab.logged(job, "up");
    const paused = lab.feed.command({ id: "p", job, name: "pause" });
    await vi.waitFor(() => expect(paused.at(-1)?.stage).toBe("applied"), WAIT);
    const kept = { stage: "received", message: "it takes effect when the job is resumed" };
    const command = { id: "k1", job, name: "checkpoint" } as const;
    lab.session.receive({ type: "job.command", command, by: "b" });
    const ack = { type: "command.ack", id: "k1", ...kept };
    await vi.waitFor(() => expect(lab.session.sent).toContainEqual(ack), WAIT);
    const acks = lab.feed.command({ id: "a1", job, name: "adjust", values: { end: true } });
    await vi.waitFor(() => expect(acks).toEqual([kept]), WAIT);
    lab.feed.command({ id: "r", job, name: "resume" });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(acks.at(-1)?.stage).toBe("applied");
  });

  it("that says nothing has the command rejected, with what it would have to do", async () => {
    await lab.start({ timing: { ...TEST_TIMING, adjustMs: 50, checkpointMs: 50 } });
    const job = lab.offer(trainer(DEAF));
    await lab.logged(job, "up");
    const adjusted = lab.feed.command({ id: "a1", job, name: "adjust", values: { lr: 1 } });
    const saved = lab.feed.command({ id: "k1", job, name: "checkpoint" });
    await vi.waitFor(
      () => expect(adjusted.at(-1)?.message).toMatch(/did not print \{"adjusted"/),
      WAIT,
    );
    await vi.waitFor(
      () => expect(saved.at(-1)?.message).toMatch(/did not print .*"checkpoint"/),
      WAIT,
    );
    lab.feed.command({ id: "x", job, name: "cancel" });
    await lab.outcome(job);
    const rejected = lab.ofType(job, "command").find(({ stage }) => stage === "rejected");
    expect(rejected).toMatchObject({ id: "a1", values: { lr: 1 } });
  });

  it("that names a checkpoint that is not there is told so, and one without a path is not", async () => {
    await lab.start();
    const code = `save(); say({ type: "checkpoint", epoch: 1 }); say({ type: "checkpoint", path: "model.bin" });
      say({ type: "checkpoint", path: "../../../x.pt" }); setTimeout(() => say({ type: "checkpoint", path: "no.pt" }), 300);`;
    const job = lab.offer(trainer(code));
    expect((await lab.outcome(job))?.state).toBe("completed");
    const where = "there is no such file in WAYBILL_OUTPUT or the working directory";
    const lines = lab.ofType(job, "log").filter(({ stream }) => stream === "waybill");
    expect(lines.map(({ line }) => line)).toEqual([
      `checkpoint ../../../x.pt: ${where}`,
      `checkpoint no.pt: ${where}`,
    ]);
  });

  it("that never reads hangs nobody: what does not fit its input is rejected", async () => {
    await lab.start();
    const job = lab.offer(trainer(DEAF));
    await lab.logged(job, "up");
    const text = "x".repeat(1000);
    const values = { a: text, b: text, c: text };
    const acks = Array.from({ length: 30 }, (_, i) =>
      lab.feed.command({ id: `a${i}`, job, name: "adjust", values }),
    );
    await vi.waitFor(() => {
      const full = acks.flat().filter(({ message = "" }) => /which is full/.test(message));
      expect(full.length).toBeGreaterThan(5);
    }, WAIT);
    lab.feed.command({ id: "x", job, name: "cancel" });
    expect((await lab.outcome(job))?.state).toBe("cancelled");
    expect(acks.flat().filter(({ stage }) => stage === "rejected")).toHaveLength(30);
  });

  it("reads an end at once when its job asks for an empty input, and can be told nothing", async () => {
    await lab.start();
    const code = `console.log("read", fs.readFileSync(0).length); save();
      const { existsSync } = fs; setInterval(() => existsSync("${lab.path("go")}") && process.exit(0), 5);`;
    const job = lab.offer(trainer(code, { stdin: "empty" }));
    await lab.logged(job, "read 0");
    const rejected = { stage: "rejected", message: expect.stringMatching(/stdin: empty/) };
    const acks = lab.feed.command({ id: "k", job, name: "checkpoint" });
    await vi.waitFor(() => expect(acks).toMatchObject([rejected]), WAIT);
    lab.feed.command({ id: "x", job, name: "cancel" });
    await lab.outcome(job);
  });
});

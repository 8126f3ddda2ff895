import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as v from "valibot";
import { ArtifactId, type JobAssignment, type JobEvent, type JobId } from "@waybill/sdk/protocol";
import {
  FakeFeed,
  FakeHub,
  FakeSession,
  type FakeTransfers,
  ROOM,
  TEST_TIMING,
  assign,
  fakeDigest,
  fakeTransfers,
} from "./fakes.fixture.ts";
import type { WorkerEvent } from "./worker-events.ts";
import { type Worker, type WorkerInit, createWorker } from "./worker.ts";

const DATASET = v.parse(ArtifactId, "d".repeat(64));
const CODE = v.parse(ArtifactId, "c".repeat(64));
const WAIT = { timeout: 15_000, interval: 5 };

let dir: string;
let hub: FakeHub;
let session: FakeSession;
let feed: FakeFeed;
let transfer: FakeTransfers;
let events: WorkerEvent[];
let workers: Worker[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-worker-"));
  hub = new FakeHub();
  transfer = fakeTransfers();
  events = [];
  workers = [];
});

afterEach(async () => {
  hub.down = false;
  for (const worker of workers) await worker.stop();
  await rm(dir, { recursive: true, force: true });
});

async function startWorker(extra: Partial<WorkerInit> = {}): Promise<Worker> {
  session = new FakeSession();
  feed = new FakeFeed();
  const worker = createWorker({
    hub,
    room: ROOM,
    name: "lab-1",
    kind: "desktop",
    dataDir: join(dir, "data"),
    version: "0.0.0",
    createSession: () => session,
    createFeed: () => feed,
    transfer,
    digest: fakeDigest,
    onEvent: (event) => events.push(event),
    timing: TEST_TIMING,
    ...extra,
  });
  workers.push(worker);
  await worker.start();
  return worker;
}

/** A trainer in JavaScript. */
function trainer(code: string, spec: Partial<JobAssignment["spec"]> = {}): JobAssignment {
  const full = `const fs = require("node:fs"); const env = process.env;
    const say = (value) => console.log(JSON.stringify(value));
    const save = () => fs.writeFileSync(env.WAYBILL_OUTPUT + "/model.bin", "weights");
    ${code}`;
  return assign({ command: [process.execPath, "-e", full], ...spec });
}

function offer(assignment: JobAssignment): JobId {
  session.receive({ type: "job.offer", assignment });
  return assignment.job;
}

function ofType<T extends JobEvent["type"]>(job: JobId, type: T): Extract<JobEvent, { type: T }>[] {
  return hub
    .events(job)
    .filter((event): event is Extract<JobEvent, { type: T }> => event.type === type);
}

const states = (job: JobId) => ofType(job, "state").map(({ state }) => state);
const outcome = async (job: JobId) => {
  await vi.waitFor(() => expect(hub.ended.get(job)).toBeDefined(), WAIT);
  return hub.ended.get(job);
};
const logged = async (job: JobId, line: string) =>
  vi.waitFor(() => expect(ofType(job, "log").map((event) => event.line)).toContain(line), WAIT);

describe("a worker", () => {
  it("runs a trainer and publishes what it wrote", async () => {
    await startWorker();
    const assignment = trainer(
      `say({epoch: 1, loss: 0.5}); say({type: "metric", epoch: 2, loss: 0.25});
       console.log("plain"); console.error("warned"); save(); say({type: "result", best: 2});`,
      { config: { lr: 0.1 }, tags: ["a" as never], alias: "prod" as never },
    );
    const job = offer(assignment);
    expect((await outcome(job))?.state).toBe("completed");
    expect(states(job)).toEqual(["running", "completed"]);
    expect(ofType(job, "metric").map(({ data }) => data)).toEqual([
      { epoch: 1, loss: 0.5 },
      { type: "metric", epoch: 2, loss: 0.25 },
    ]);
    expect(ofType(job, "log").map(({ stream, line }) => `${stream}: ${line}`)).toEqual(
      expect.arrayContaining(["stdout: plain", "stderr: warned"]),
    );
    expect(ofType(job, "result")).toMatchObject([
      { data: { epoch: 2, loss: 0.25, best: 2 }, files: 1, bytes: 7, stoppedEarly: false },
    ]);
    expect(ofType(job, "published")).toHaveLength(1);
    expect(hub.publications).toMatchObject([
      {
        alias: "prod",
        tags: ["a"],
        training: { metrics: { best: 2, loss: 0.25 }, config: { lr: 0.1 } },
      },
    ]);
    const seqs = hub.events(job).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, i) => assignment.firstSeq + i));
    await vi.waitFor(async () => expect(await readdir(join(dir, "data/spool"))).toEqual([]), WAIT);
    expect(session.sent).toContainEqual({ type: "job.released", job, attempt: 1 });
  });

  it("gives the trainer its dataset, code, configuration and no secret (I10)", async () => {
    const data = join(dir, "dataset");
    const code = join(dir, "code");
    await mkdir(data);
    await mkdir(code);
    await writeFile(join(data, "x.txt"), "dataset!");
    await writeFile(
      join(code, "train.js"),
      `const fs = require("node:fs"); const env = process.env;
       fs.writeFileSync(env.WAYBILL_OUTPUT + "/report.json", JSON.stringify({
         data: fs.readFileSync(env.WAYBILL_DATASET + "/x.txt", "utf8"),
         config: JSON.parse(fs.readFileSync(env.WAYBILL_CONFIG, "utf8")), names: Object.keys(env),
         env: [env.WAYBILL_JOB, env.WAYBILL_ATTEMPT, env.MINE] }));
       console.log(fs.readFileSync(env.WAYBILL_OUTPUT + "/report.json", "utf8"))`,
    );
    transfer.trees.set(DATASET, data);
    transfer.trees.set(CODE, code);
    vi.stubEnv("WAYBILL_TOKEN", "secret");
    vi.stubEnv("WAYBILL_KEY", "secret");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
    vi.stubEnv("MY_API_TOKEN", "secret");
    await startWorker();
    const job = offer(
      assign({
        command: [process.execPath, "train.js"],
        dataset: DATASET,
        code: CODE,
        config: { lr: 1 },
        env: { MINE: "yes" },
      }),
    );
    expect((await outcome(job))?.state).toBe("completed");
    vi.unstubAllEnvs();
    const line = ofType(job, "log").find(({ stream }) => stream === "stdout")?.line ?? "{}";
    const report = JSON.parse(line) as Record<string, unknown>;
    expect(report).toMatchObject({ data: "dataset!", config: { lr: 1 }, env: [job, "1", "yes"] });
    for (const name of ["WAYBILL_TOKEN", "WAYBILL_KEY", "AWS_SECRET_ACCESS_KEY", "MY_API_TOKEN"]) {
      expect(report["names"]).not.toContain(name);
    }
    const pulls = ofType(job, "transfer").filter(
      ({ direction, done }) => direction === "down" && done,
    );
    expect(pulls.map(({ what }) => what).sort()).toEqual(["code", "dataset"]);
    const again = offer(assign({ command: [process.execPath, "-e", ""], dataset: DATASET }));
    await outcome(again);
    expect(ofType(again, "transfer")).toMatchObject([{ what: "dataset", sources: { cache: 10 } }]);
  });

  it.each([
    [
      "exits with 3",
      `console.error("out of memory"); process.exit(3)`,
      /exited with code 3: out of memory/,
    ],
    ["is killed", `process.kill(process.pid, "SIGKILL")`, /killed by SIGKILL/],
    ["writes no model", `say({loss: 1})`, /without writing any file to WAYBILL_OUTPUT/],
  ])("fails the job with a reason when the trainer %s", async (_, code, reason) => {
    await startWorker();
    const job = offer(trainer(code));
    const end = await outcome(job);
    expect(end?.state).toBe("failed");
    expect(end?.reason).toMatch(reason);
    expect(hub.publications).toEqual([]);
  });

  it("fails the job when the program does not exist or the dataset cannot be had", async () => {
    await startWorker({ slots: 2 });
    const missing = offer(assign({ command: ["no-such-program"] }));
    const noData = offer(assign({ command: ["true"], dataset: DATASET }));
    expect((await outcome(missing))?.reason).toMatch(/no-such-program is not on this worker/);
    expect((await outcome(noData))?.reason).toMatch(/no artifact/);
  });

  it("pauses and resumes the process group, acknowledged when seen to be so", async () => {
    await startWorker();
    const job = offer(
      trainer(`save(); console.log("up"); setInterval(() => say({tick: 1}), 10);
               process.on("SIGTERM", () => process.exit(0));`),
    );
    await logged(job, "up");
    const paused = feed.command({ id: "c1", job, name: "pause" });
    expect(paused).toEqual([{ stage: "received", message: undefined }]);
    await vi.waitFor(() => expect(paused.at(-1)?.stage).toBe("applied"), WAIT);
    const again = feed.command({ id: "c1", job, name: "pause" });
    expect(again).toEqual([{ stage: "applied", message: undefined }]);
    await vi.waitFor(() => expect(states(job)).toEqual(["running", "paused"]), WAIT);
    const resumed = feed.command({ id: "c2", job, name: "resume" });
    await vi.waitFor(() => expect(resumed.at(-1)?.stage).toBe("applied"), WAIT);
    const cancelled = feed.command({ id: "c3", job, name: "cancel" });
    expect((await outcome(job))?.state).toBe("cancelled");
    expect(cancelled.map(({ stage }) => stage)).toEqual(["received", "applied"]);
    expect(states(job)).toEqual(["running", "paused", "running", "stopping", "cancelled"]);
    expect(ofType(job, "command").map(({ id, stage }) => `${id} ${stage}`)).toEqual(
      ["c1", "c2", "c3"].flatMap((id) => [`${id} received`, `${id} applied`]),
    );
    expect(hub.publications).toEqual([]);
  });

  it("stops a paused trainer early and keeps its model", async () => {
    await startWorker();
    const job = offer(
      trainer(`console.log("up"); setInterval(() => 0, 1000);
               process.on("SIGTERM", () => { save(); process.exit(143); });`),
    );
    await logged(job, "up");
    const paused = feed.command({ id: "c1", job, name: "pause" });
    await vi.waitFor(() => expect(paused.at(-1)?.stage).toBe("applied"), WAIT);
    session.receive({ type: "job.command", command: { id: "c2", job, name: "stop" }, by: "bob" });
    expect((await outcome(job))?.state).toBe("completed");
    expect(session.sent).toContainEqual({ type: "command.ack", id: "c2", stage: "received" });
    expect(ofType(job, "result")).toMatchObject([{ stoppedEarly: true }]);
    expect(ofType(job, "command").at(-1)).toMatchObject({ id: "c2", by: "bob", stage: "applied" });
  });

  it("kills a trainer that ignores SIGTERM when the grace is over", async () => {
    await startWorker({ timing: { ...TEST_TIMING, cancelGraceMs: 100 } });
    const job = offer(
      trainer(`process.on("SIGTERM", () => 0); console.log("up"); setInterval(() => 0, 1000);`),
    );
    await logged(job, "up");
    feed.command({ id: "c1", job, name: "cancel" });
    expect((await outcome(job))?.state).toBe("cancelled");
  });

  it("stores samples and announces them, and says what is wrong with the others", async () => {
    await startWorker();
    const job = offer(
      trainer(`const png = Buffer.from("89504e470d0a1a0a00000000", "hex");
        fs.writeFileSync(env.WAYBILL_OUTPUT + "/a.png", png); fs.writeFileSync("b.txt", "text");
        fs.writeFileSync("big.png", Buffer.concat([png, Buffer.alloc(1 << 20)]));
        for (const file of ["a.png", "b.txt", "big.png", "../run.json", "/etc/passwd", "none.png"])
          say({type: "sample", file, epoch: 1});`),
    );
    expect((await outcome(job))?.state).toBe("completed");
    const name = `${fakeDigest(Buffer.from("89504e470d0a1a0a00000000", "hex"))}.png`;
    expect(ofType(job, "sample")).toMatchObject([
      { file: name, mime: "image/png", bytes: 12, data: { epoch: 1, file: "a.png" } },
    ]);
    expect([...hub.samples.keys()]).toEqual([name]);
    const said = ofType(job, "log").filter(({ stream }) => stream === "waybill");
    expect(said.map(({ line }) => line)).toEqual([
      expect.stringMatching(/b\.txt was not kept: it is not a PNG/),
      expect.stringMatching(/big\.png was not kept: it has/),
      expect.stringMatching(/run\.json was not kept: there is no such file/),
      expect.stringMatching(/passwd was not kept: there is no such file/),
      expect.stringMatching(/none\.png was not kept: there is no such file/),
    ]);
  });

  it("finishes and publishes a job whose hub was away meanwhile, losing no event", async () => {
    await startWorker();
    const job = offer(
      trainer(`console.log("up"); setTimeout(() => { say({loss: 1}); save(); }, 200)`),
    );
    await vi.waitFor(() => expect(hub.calls).toContain("renewLease"), WAIT);
    hub.down = true;
    const reader = feed.readers.get(job);
    await vi.waitFor(async () => {
      const live = await reader?.read(0, 1000);
      expect(live?.map(({ type }) => type)).toContain("result");
    }, WAIT);
    expect(hub.ended.get(job)).toBeUndefined();
    hub.down = false;
    expect((await outcome(job))?.state).toBe("completed");
    const seqs = hub.events(job).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, i) => 3 + i));
  });

  it("shows `completed` to live viewers only after the hub has stored it", async () => {
    await startWorker();
    const job = offer(trainer("save()"));
    await vi.waitFor(() => expect(feed.readers.get(job)).toBeDefined(), WAIT);
    const reader = feed.readers.get(job);
    const seen: string[] = [];
    const done = new Promise<void>((resolve) => {
      reader?.subscribe(() => {
        seen.push(hub.ended.has(job) ? "stored" : "before");
        if (reader.lastSeq === hub.events(job).at(-1)?.seq && hub.ended.has(job)) resolve();
      });
    });
    await outcome(job);
    await done;
    expect(seen.at(-1)).toBe("stored");
    expect(seen.filter((one) => one === "stored")).toHaveLength(1);
  });

  it("kills the trainer of a revoked attempt and writes nothing more (I11)", async () => {
    await startWorker();
    const job = offer(trainer(`console.log(process.pid); setInterval(() => 0, 1000); save();`));
    await vi.waitFor(() => expect(ofType(job, "log")).toHaveLength(1), WAIT);
    const pid = Number(ofType(job, "log")[0]?.line);
    hub.stale = job;
    await vi.waitFor(
      () =>
        expect(events).toContainEqual({ type: "job.ended", job, attempt: 1, outcome: "dropped" }),
      WAIT,
    );
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    expect(hub.ended.get(job)).toBeUndefined();
    expect(hub.publications).toEqual([]);
  });

  it("ends running jobs as interrupted when it is stopped", async () => {
    const worker = await startWorker();
    const job = offer(trainer(`console.log("up"); setInterval(() => 0, 1000); save();`));
    await logged(job, "up");
    await worker.stop();
    expect(hub.ended.get(job)?.state).toBe("interrupted");
    expect(hub.publications).toEqual([]);
    expect(await readdir(join(dir, "data/spool"))).toEqual([]);
  });

  it("declines what it has no slot for and what it must not run", async () => {
    await startWorker({ commands: false, trainers: { wait: ["sleep", "60"] } });
    const job = offer(assign({ trainer: "wait" }));
    const declined = (one: JobAssignment) => {
      offer(one);
      return session.sent.at(-1);
    };
    expect(session.sent.at(-1)).toEqual({ type: "job.accept", job, attempt: 1 });
    expect(declined(assign({ trainer: "wait" }))).toMatchObject({
      type: "job.decline",
      reason: "has no free slot",
    });
    await vi.waitFor(() => expect(states(job)).toContain("running"), WAIT);
    feed.command({ id: "c1", job, name: "cancel" });
    await outcome(job);
    await vi.waitFor(() => expect(session.sent.at(-1)?.type).toBe("job.released"), WAIT);
    expect(declined(assign({ command: ["true"] }))).toMatchObject({
      type: "job.decline",
      reason: "runs named trainers only",
    });
    const sneaky = offer(assign({ trainer: "wait", env: { LD_PRELOAD: "/tmp/x.so" } }));
    expect((await outcome(sneaky))?.reason).toMatch(/may not bring environment/);
  });

  it("does not run what it could not accept because the socket had closed", async () => {
    await startWorker();
    session.online = false;
    const job = offer(trainer("save()"));
    session.online = true;
    await new Promise(setImmediate);
    expect(feed.readers.has(job)).toBe(false);
    expect(await readdir(join(dir, "data/spool"))).toEqual([]);
  });

  it("fails a job it has accepted and then cannot begin, rather than keep it", async () => {
    await startWorker();
    await rm(join(dir, "data/spool"), { recursive: true });
    await writeFile(join(dir, "data/spool"), "in the way");
    const job = offer(trainer("save()"));
    expect((await outcome(job))?.reason).toMatch(/the worker could not begin/);
    await rm(join(dir, "data/spool"));
  });

  it("refuses to start twice on one data directory, and says who has it", async () => {
    const first = await startWorker();
    const second = startWorker();
    await expect(second).rejects.toMatchObject({ code: "conflict" });
    await expect(second).rejects.toThrow(new RegExp(`process id ${process.pid}`));
    await first.stop();
    await startWorker();
  });

  it("keeps its instance across restarts", async () => {
    const instance = async () => readFile(join(dir, "data/instance"), "utf8");
    const first = await startWorker();
    const before = await instance();
    await first.stop();
    await startWorker();
    expect(await instance()).toBe(before);
  });
});

import { spawnSync } from "node:child_process";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as v from "valibot";
import { ArtifactId } from "@waybill/sdk/protocol";
import { TEST_TIMING, assign, fakeDigest } from "../fakes.fixture.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

const DATASET = v.parse(ArtifactId, "d".repeat(64));
const CODE = v.parse(ArtifactId, "c".repeat(64));
const PYTHON = spawnSync("python3", ["--version"]).error === undefined ? "python3" : undefined;
if (PYTHON === undefined) console.log("skipped: python3 is missing (apt-get install python3)");
const WAIT = { timeout: 15_000, interval: 5 };
let lab: WorkerLab;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(() => lab[Symbol.asyncDispose]());

describe("a job on a worker", () => {
  it("runs a trainer and publishes what it wrote", async () => {
    await lab.start();
    const assignment = trainer(
      `say({epoch: 1, loss: 0.5}); say({type: "metric", epoch: 2, loss: 0.25});
       console.log("plain"); console.error("warned"); save(); say({type: "result", best: 2});`,
      { config: { lr: 0.1 }, tags: ["a"], alias: "prod" },
    );
    const job = lab.offer(assignment);
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.states(job)).toEqual(["running", "completed"]);
    expect(lab.ofType(job, "metric").map(({ data }) => data)).toEqual([
      { epoch: 1, loss: 0.5 },
      { type: "metric", epoch: 2, loss: 0.25 },
    ]);
    expect(lab.ofType(job, "log").map(({ stream, line }) => `${stream}: ${line}`)).toEqual(
      expect.arrayContaining(["stdout: plain", "stderr: warned"]),
    );
    expect(lab.ofType(job, "result")).toMatchObject([
      { data: { epoch: 2, loss: 0.25, best: 2 }, files: 1, bytes: 7, stoppedEarly: false },
    ]);
    expect(lab.ofType(job, "published")).toHaveLength(1);
    expect(lab.hub.publications).toMatchObject([
      {
        alias: "prod",
        tags: ["a"],
        training: { metrics: { best: 2, loss: 0.25 }, config: { lr: 0.1 } },
      },
    ]);
    const seqs = lab.hub.events(job).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, i) => assignment.firstSeq + i));
    await vi.waitFor(async () => expect(await readdir(lab.path("data/spool"))).toEqual([]), WAIT);
    expect(lab.session.sent).toContainEqual({ type: "job.released", job, attempt: 1 });
  });

  it("gives the trainer its dataset, code, configuration and no secret (I10)", async () => {
    const data = lab.path("dataset");
    const code = lab.path("code");
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
    lab.transfer.trees.set(DATASET, data);
    lab.transfer.trees.set(CODE, code);
    vi.stubEnv("WAYBILL_TOKEN", "secret");
    vi.stubEnv("WAYBILL_KEY", "secret");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
    vi.stubEnv("MY_API_TOKEN", "secret");
    await lab.start();
    const job = lab.offer(
      assign({
        command: [process.execPath, "train.js"],
        dataset: DATASET,
        code: CODE,
        config: { lr: 1 },
        env: { MINE: "yes" },
      }),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    vi.unstubAllEnvs();
    const line = lab.ofType(job, "log").find(({ stream }) => stream === "stdout")?.line ?? "{}";
    const report = JSON.parse(line) as Record<string, unknown>;
    expect(report).toMatchObject({ data: "dataset!", config: { lr: 1 }, env: [job, "1", "yes"] });
    for (const name of ["WAYBILL_TOKEN", "WAYBILL_KEY", "AWS_SECRET_ACCESS_KEY", "MY_API_TOKEN"]) {
      expect(report["names"]).not.toContain(name);
    }
    const pulls = lab
      .ofType(job, "transfer")
      .filter(({ direction, done }) => direction === "down" && done);
    expect(pulls.map(({ what }) => what).sort()).toEqual(["code", "dataset"]);
    const again = lab.offer(assign({ command: [process.execPath, "-e", ""], dataset: DATASET }));
    await lab.outcome(again);
    expect(lab.ofType(again, "transfer")).toMatchObject([
      { what: "dataset", sources: { cache: 10 } },
    ]);
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
    await lab.start();
    const job = lab.offer(trainer(code));
    const end = await lab.outcome(job);
    expect(end?.state).toBe("failed");
    expect(end?.reason).toMatch(reason);
    expect(lab.hub.publications).toEqual([]);
  });

  it("fails the job when the program does not exist or the dataset cannot be had", async () => {
    await lab.start({ slots: 2 });
    const missing = lab.offer(assign({ command: ["no-such-program"] }));
    const noData = lab.offer(assign({ command: ["true"], dataset: DATASET }));
    expect((await lab.outcome(missing))?.reason).toMatch(/no-such-program is not on this worker/);
    expect((await lab.outcome(noData))?.reason).toMatch(/no artifact/);
  });

  it("pauses and resumes the process group, acknowledged when seen to be so", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(`save(); console.log("up"); setInterval(() => say({tick: 1}), 10);
               process.on("SIGTERM", () => process.exit(0));`),
    );
    await lab.logged(job, "up");
    const paused = lab.feed.command({ id: "c1", job, name: "pause" });
    await vi.waitFor(() => expect(paused.at(-1)?.stage).toBe("applied"), WAIT);
    expect(paused[0]).toEqual({ stage: "received", message: undefined });
    const again = lab.feed.command({ id: "c1", job, name: "pause" });
    expect(again).toEqual([{ stage: "applied", message: undefined }]);
    await vi.waitFor(() => expect(lab.states(job)).toEqual(["running", "paused"]), WAIT);
    const resumed = lab.feed.command({ id: "c2", job, name: "resume" });
    await vi.waitFor(() => expect(resumed.at(-1)?.stage).toBe("applied"), WAIT);
    const cancelled = lab.feed.command({ id: "c3", job, name: "cancel" });
    expect((await lab.outcome(job))?.state).toBe("cancelled");
    expect(cancelled.map(({ stage }) => stage)).toEqual(["received", "applied"]);
    expect(lab.states(job)).toEqual(["running", "paused", "running", "stopping", "cancelled"]);
    expect(lab.ofType(job, "command").map(({ id, stage }) => `${id} ${stage}`)).toEqual(
      ["c1", "c2", "c3"].flatMap((id) => [`${id} received`, `${id} applied`]),
    );
    expect(lab.hub.publications).toEqual([]);
  });

  it("stops a paused trainer early and keeps its model", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(`console.log("up"); setInterval(() => 0, 1000);
               process.on("SIGTERM", () => { save(); process.exit(143); });`),
    );
    await lab.logged(job, "up");
    const paused = lab.feed.command({ id: "c1", job, name: "pause" });
    await vi.waitFor(() => expect(paused.at(-1)?.stage).toBe("applied"), WAIT);
    lab.session.receive({
      type: "job.command",
      command: { id: "c2", job, name: "stop" },
      by: "bob",
    });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.session.sent).toContainEqual({ type: "command.ack", id: "c2", stage: "received" });
    expect(lab.ofType(job, "result")).toMatchObject([{ stoppedEarly: true }]);
    expect(lab.ofType(job, "command").at(-1)).toMatchObject({
      id: "c2",
      by: "bob",
      stage: "applied",
    });
  });

  it("kills a trainer that ignores SIGTERM when the grace is over", async () => {
    await lab.start({ timing: { ...TEST_TIMING, cancelGraceMs: 100 } });
    const job = lab.offer(
      trainer(`process.on("SIGTERM", () => 0); console.log("up"); setInterval(() => 0, 1000);`),
    );
    await lab.logged(job, "up");
    lab.feed.command({ id: "c1", job, name: "cancel" });
    expect((await lab.outcome(job))?.state).toBe("cancelled");
  });

  it("stores samples and announces them, and says what is wrong with the others", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(`const png = Buffer.from("89504e470d0a1a0a00000000", "hex");
        fs.writeFileSync(env.WAYBILL_OUTPUT + "/a.png", png); fs.writeFileSync("b.txt", "text");
        fs.writeFileSync("big.png", Buffer.concat([png, Buffer.alloc(1 << 20)]));
        for (const file of ["a.png", "b.txt", "big.png", "../run.json", "/etc/passwd", "none.png"])
          say({type: "sample", file, epoch: 1});`),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    const name = `${fakeDigest(Buffer.from("89504e470d0a1a0a00000000", "hex"))}.png`;
    expect(lab.ofType(job, "sample")).toMatchObject([
      { file: name, mime: "image/png", bytes: 12, data: { epoch: 1, file: "a.png" } },
    ]);
    expect([...lab.hub.samples.keys()]).toEqual([name]);
    // Viewers were shown it without waiting for the store.
    expect(lab.feed.images).toMatchObject([{ file: name, mime: "image/png" }]);
    const said = lab.ofType(job, "log").filter(({ stream }) => stream === "waybill");
    expect(said.map(({ line }) => line)).toEqual([
      expect.stringMatching(/b\.txt was not kept: it is not a PNG/),
      expect.stringMatching(/big\.png was not kept: it has/),
      expect.stringMatching(/run\.json was not kept: there is no such file/),
      expect.stringMatching(/passwd was not kept: there is no such file/),
      expect.stringMatching(/none\.png was not kept: there is no such file/),
    ]);
  });

  it("tells every sample of a series, also those that look the same", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(`const png = Buffer.from("89504e470d0a1a0a00000000", "hex");
        for (const n of [1, 2, 3, 4]) fs.writeFileSync(n + ".png", png);
        for (const n of [1, 2, 3, 4]) say({type: "sample", file: n + ".png"}); save();`),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    const files = lab.ofType(job, "sample").map(({ data }) => data["file"]);
    expect(files).toEqual(["1.png", "2.png", "3.png", "4.png"]);
    expect(lab.ofType(job, "log").filter(({ stream }) => stream === "waybill")).toEqual([]);
  });

  it.skipIf(process.platform === "win32")(
    "keeps neither pipes nor devices as samples, and does not wait for them",
    async () => {
      await lab.start();
      const job = lab.offer(
        trainer(`const { execFileSync } = require("node:child_process");
        execFileSync("mkfifo", ["1.png", "2.png", "3.png", "4.png", "5.png"]);
        fs.symlinkSync("1.png", "link.png"); fs.mkdirSync("dir.png");
        for (const file of ["1.png", "2.png", "3.png", "4.png", "5.png", "link.png", "dir.png"])
          say({type: "sample", file}); save();`),
      );
      expect((await lab.outcome(job))?.state).toBe("completed");
      const said = lab.ofType(job, "log").filter(({ stream }) => stream === "waybill");
      expect(said).toHaveLength(7);
      for (const { line } of said) expect(line).toMatch(/\.png was not kept: it is not a file/);
    },
  );

  it("finishes and publishes a job whose hub was away meanwhile, losing no event", async () => {
    await lab.start();
    const hubIsDown = JSON.stringify(lab.path("hub-is-down"));
    const job = lab.offer(
      trainer(`console.log("up");
        const look = setInterval(() => {
          if (!fs.existsSync(${hubIsDown})) return;
          clearInterval(look); say({loss: 1}); save();
        }, 5)`),
    );
    await vi.waitFor(() => expect(lab.hub.calls).toContain("renewLease"), WAIT);
    lab.hub.down = true;
    await writeFile(lab.path("hub-is-down"), "");
    const reader = lab.feed.readers.get(job);
    await vi.waitFor(async () => {
      const live = await reader?.read(0, 1000);
      expect(live?.map(({ type }) => type)).toContain("result");
    }, WAIT);
    expect(lab.hub.ended.get(job)).toBeUndefined();
    lab.hub.down = false;
    expect((await lab.outcome(job))?.state).toBe("completed");
    const seqs = lab.hub.events(job).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, i) => 3 + i));
  });

  it("fails a job that fills the disk while its end can still be written, and cleans up", async () => {
    let free = 10e9;
    await lab.start({ freeBytes: async () => free, slots: 2 });
    const job = lab.offer(
      trainer(`save(); console.log("up"); setInterval(() => console.log("x".repeat(1000)), 1)`),
    );
    await lab.logged(job, "up");
    free = 100e6;
    expect(await lab.outcome(job)).toMatchObject({
      state: "failed",
      reason: "the worker's disk is nearly full",
    });
    expect(lab.states(job)).toEqual(["running", "stopping", "failed"]);
    expect(lab.hub.publications).toEqual([]);
    await vi.waitFor(async () => expect(await readdir(lab.path("data/spool"))).toEqual([]), WAIT);
    const next = lab.offer(trainer(`setInterval(() => 0, 1000)`));
    expect((await lab.outcome(next))?.state).toBe("failed");
  });

  it.skipIf(process.platform === "win32")(
    "ends without waiting for a slow GPU driver",
    async () => {
      const smi = lab.path("nvidia-smi");
      await writeFile(
        smi,
        `#!/bin/sh
      case "$1" in *utilization*) ;; *) exit 0 ;; esac
      trap 'touch "${smi}.late"; exit 0' TERM
      touch "${smi}.begun"
      while [ ! -e "${smi}.release" ]; do sleep 0.02; done`,
        { mode: 0o755 },
      );
      vi.stubEnv("PATH", `${lab.dir}:${process.env["PATH"] ?? ""}`);
      await lab.start({ timing: { ...TEST_TIMING, systemMs: 10 } });
      const job = lab.offer(
        trainer(`save(); setInterval(() => fs.existsSync("${smi}.begun") && process.exit(0), 5);`),
      );
      expect((await lab.outcome(job))?.state).toBe("completed");
      const files = await readdir(lab.dir);
      await writeFile(`${smi}.release`, "");
      vi.unstubAllEnvs();
      expect(files).toContain("nvidia-smi.begun");
      expect(files).not.toContain("nvidia-smi.late");
    },
  );

  it("notes the trainer's end before its output is through", async () => {
    lab.hub.seqReserve = 0;
    await lab.start();
    const flood = trainer(`for (let i = 0; i < 5000; i++) console.log(i); save();`);
    const job = lab.offer({ ...flood, seqReserved: 1002 });
    const journal = lab.path("data/spool", `${job}-1`, "run.json");
    await vi.waitFor(async () => {
      expect(JSON.parse(await readFile(journal, "utf8"))).toMatchObject({
        stage: "training",
        exit: { code: 0, signal: null },
      });
    }, WAIT);
    lab.hub.seqReserve = 100_000;
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "log")).toHaveLength(5000);
  });

  it("shows `completed` to live viewers only after the hub has stored it", async () => {
    await lab.start();
    const job = lab.offer(trainer("save()"));
    await vi.waitFor(() => expect(lab.feed.readers.get(job)).toBeDefined(), WAIT);
    const reader = lab.feed.readers.get(job);
    const seen: string[] = [];
    const done = new Promise<void>((resolve) => {
      reader?.subscribe(() => {
        seen.push(lab.hub.ended.has(job) ? "stored" : "before");
        if (reader.lastSeq === lab.hub.events(job).at(-1)?.seq && lab.hub.ended.has(job)) resolve();
      });
    });
    await lab.outcome(job);
    await done;
    expect(seen.at(-1)).toBe("stored");
    expect(seen.filter((one) => one === "stored")).toHaveLength(1);
  });

  it.skipIf(PYTHON === undefined)("runs the three lines of Python of the docs", async () => {
    const docs = await readFile(
      new URL("../../../../../docs/trainers.md", import.meta.url),
      "utf8",
    );
    const lines = /```python\n([\s\S]*?)```/.exec(docs)?.[1] ?? "";
    expect(lines.trim().split("\n")).toHaveLength(3);
    await lab.start();
    const job = lab.offer(assign({ command: ["python3", "-c", `weights = b"w" * 7\n${lines}`] }));
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "metric").map(({ data }) => data)).toEqual([{ epoch: 1, loss: 0.25 }]);
    expect(lab.ofType(job, "result")).toMatchObject([{ files: 1, bytes: 7 }]);
  });
});

// Checkpoints of workers that may vanish (trainer.md §9).
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as v from "valibot";
import { ArtifactId, type JobId, WaybillError } from "@waybill/sdk/protocol";
import { TEST_TIMING } from "../fakes.fixture.ts";
import { Checkpoints } from "./checkpoints.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

const WAIT = { timeout: 15_000, interval: 5 };
const RESUME = v.parse(ArtifactId, "e".repeat(64));
let lab: WorkerLab;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(() => lab[Symbol.asyncDispose]());

/** Writes a checkpoint for each line of the file `go` and ends with the line `end`. */
const SAVING = `console.log("up"); let n = 0; save();
  const write = (more) => { fs.writeFileSync("ckpt.pt", "state " + n); say({type: "checkpoint", path: "ckpt.pt", n, ...more}); };
  setInterval(() => {
    const go = fs.existsSync("@GO@") ? fs.readFileSync("@GO@", "utf8").split("\\n") : [""];
    for (; n < go.length - 1; ) {
      const word = go[n++];
      if (word === "end") process.exit(0);
      write(word === "best" ? {best: true} : {});
    }
  }, 5);`;

const saving = (more = "") => trainer(SAVING.replaceAll("@GO@", lab.path("go")) + more);
const go = (...words: string[]) =>
  writeFile(lab.path("go"), words.map((word) => `${word}\n`).join(""));
const recorded = (job: JobId) =>
  lab.ofType(job, "checkpoint").filter(({ artifact }) => artifact !== undefined);
const purposes = () => lab.transfer.requests.map(({ purpose }) => purpose.kind);

describe("a worker that may vanish", () => {
  it("brings checkpoints to the room while training goes on, each against the one before", async () => {
    await lab.start({ kind: "ephemeral" });
    const assignment = saving();
    const job = lab.offer(assignment);
    await go("one");
    await vi.waitFor(() => expect(recorded(job)).toHaveLength(1), WAIT);
    await go("one", "two");
    await vi.waitFor(() => expect(recorded(job)).toHaveLength(2), WAIT);
    const [first, second] = lab.transfer.requests;
    expect(first).toMatchObject({
      purpose: { kind: "checkpoint", job, attempt: 1 },
      base: undefined,
      background: true,
    });
    expect(second?.base).toBe(recorded(job)[0]?.artifact);
    expect(lab.hub.checkpoints).toMatchObject([
      { attempt: 1, data: { path: "ckpt.pt", n: 1 } },
      { attempt: 1, data: { n: 2 }, artifact: recorded(job)[1]?.artifact },
    ]);
    await go("one", "two", "end");
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(purposes()).toEqual(["checkpoint", "checkpoint", "model"]);
  });

  it("skips what is older than the newest and no best while one is on its way", async () => {
    await lab.start({ kind: "ephemeral" });
    const gate = Promise.withResolvers<void>();
    lab.transfer.gate = gate.promise;
    const job = lab.offer(saving());
    await go("one");
    await vi.waitFor(() => expect(lab.transfer.requests).toHaveLength(1), WAIT);
    await go("one", "two", "best", "four", "five");
    await vi.waitFor(() => expect(lab.ofType(job, "checkpoint")).toHaveLength(5), WAIT);
    gate.resolve();
    await vi.waitFor(
      () =>
        expect(
          recorded(job)
            .map(({ data }) => data["n"])
            .at(-1),
        ).toBe(5),
      WAIT,
    );
    const numbers = recorded(job).map(({ data }) => data["n"]);
    expect(numbers).toContain(3);
    expect(numbers.length).toBeLessThan(5);
    await go("one", "two", "best", "four", "five", "end");
    await lab.outcome(job);
  });

  it("says what cannot be kept and trains on", async () => {
    await lab.start({ kind: "ephemeral" });
    const job = lab.offer(
      trainer(`for (const path of ["none.pt", "/etc/passwd", "../run.json"]) say({type: "checkpoint", path});
        save(); setTimeout(() => 0, 100);`),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    const said = lab.ofType(job, "log").filter(({ stream }) => stream === "waybill");
    expect(said.length).toBeGreaterThan(0);
    for (const { line } of said) expect(line).toMatch(/was not kept: there is no such file/);
    expect(recorded(job)).toEqual([]);
  });

  it("asks for a checkpoint when it is told to go, brings it to the room first, and interrupts the job", async () => {
    const worker = await lab.start({ kind: "ephemeral" });
    const job = lab.offer(
      trainer(`process.stdin.on("data", () => {
          fs.mkdirSync("ckpt"); fs.writeFileSync("ckpt/w", "1"); say({type: "checkpoint", path: "ckpt", last: true}); });
        process.on("SIGTERM", () => { console.log("term"); process.exit(0); });
        say({type: "checkpoint"}); console.log("up");`),
    );
    await lab.logged(job, "up");
    await worker.stop();
    expect(lab.hub.ended.get(job)?.state).toBe("interrupted");
    expect(lab.hub.checkpoints).toMatchObject([{ data: { last: true } }]);
    const told = lab.hub.events(job).flatMap((event) => {
      if (event.type === "checkpoint") return [event.artifact === undefined ? "printed" : "safe"];
      if (event.type === "state") return [event.state];
      return event.type === "log" ? [event.line] : [];
    });
    expect(told.filter((one) => one !== "running").slice(-6)).toEqual([
      "up",
      "stopping",
      "printed",
      "safe",
      "term",
      "interrupted",
    ]);
    expect(lab.hub.publications).toEqual([]);
  });

  it("takes along what the trainer writes on SIGTERM, and waits in vain no longer than it must", async () => {
    const worker = await lab.start({ kind: "ephemeral" });
    const job = lab.offer(
      trainer(`process.on("SIGTERM", () => {
          fs.writeFileSync("w", "1"); say({type: "checkpoint", path: "w", last: true}); process.exit(0); });
        console.log("up"); setInterval(() => 0, 1000);`),
    );
    await lab.logged(job, "up");
    await worker.stop();
    expect(lab.hub.ended.get(job)?.state).toBe("interrupted");
    expect(lab.hub.checkpoints).toMatchObject([{ data: { last: true } }]);
  });

  it("leaves in time although the room cannot be reached with the newest", async () => {
    const timing = { ...TEST_TIMING, leaveFlushMs: 100, leaveMs: 200 };
    const worker = await lab.start({ kind: "ephemeral", timing });
    lab.transfer.gate = new Promise(() => undefined);
    const job = lab.offer(saving());
    await go("one");
    await vi.waitFor(() => expect(lab.transfer.requests).toHaveLength(1), WAIT);
    await worker.stop();
    expect(lab.hub.ended.get(job)?.state).toBe("interrupted");
    expect(lab.hub.checkpoints).toEqual([]);
  });

  it("trains on when the room lost a checkpoint that was on its way", async () => {
    await lab.start({ kind: "ephemeral" });
    const push = lab.transfer.push.bind(lab.transfer);
    lab.transfer.push = async (request) => {
      if (request.purpose.kind === "model") return push(request);
      throw new WaybillError("not_found", "room lab has no upload u_1");
    };
    const job = lab.offer(saving());
    await go("one");
    await lab.logged(job, "checkpoint ckpt.pt was not kept: room lab has no upload u_1");
    await go("one", "end");
    expect((await lab.outcome(job))?.state).toBe("completed");
  });

  it("keeps nothing in the room on a worker with a disk to rely on, unless it is told to", async () => {
    const worker = await lab.start();
    const job = lab.offer(saving());
    await go("one", "end");
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(purposes()).toEqual(["model"]);
    await worker.stop();
    await lab.start({ checkpoints: true });
    const other = lab.offer(saving());
    await vi.waitFor(() => expect(lab.hub.ended.has(other)).toBe(true), WAIT);
    expect(lab.ofType(other, "checkpoint").length).toBeGreaterThan(0);
  });
});

describe("checkpoints of one attempt", () => {
  it("are counted over restarts of their worker, so that one that was held up does not lead back", async () => {
    const dir = lab.path("copies");
    await writeFile(lab.path("ckpt.pt"), "state");
    let lastN: number | undefined;
    const open = () =>
      new Checkpoints({
        hub: lab.hub,
        transfer: lab.transfer,
        assignment: saving(),
        dir,
        roots: [lab.dir],
        minFreeBytes: 0,
        freeBytes: async () => Number.POSITIVE_INFINITY,
        base: undefined,
        lastN,
        append: () => undefined,
        onRecorded: async (_, n) => {
          lastN = n;
        },
        onStale: () => undefined,
      });
    for (let daemon = 0; daemon < 2; daemon++) {
      const checkpoints = open();
      await checkpoints.start();
      for (let one = 0; one < 2; one++) {
        checkpoints.take("ckpt.pt", { path: "ckpt.pt" });
        await checkpoints.flush(AbortSignal.timeout(10_000));
      }
      await checkpoints.stop();
    }
    expect(lab.hub.checkpoints.map(({ n }) => n)).toEqual([1, 2, 3, 4]);
  });
});

describe("an attempt that follows another", () => {
  const resume = {
    artifact: RESUME,
    bytes: 5,
    attempt: 1,
    at: "2026-01-01T00:00:00.000Z",
    data: { epoch: 3 },
  };
  const READING = `console.log(fs.readFileSync(env.WAYBILL_RESUME + "/ckpt.pt", "utf8")); save();`;

  it("finds the newest checkpoint in WAYBILL_RESUME, read-only, and is compared with it", async () => {
    await mkdir(lab.path("old"));
    await writeFile(join(lab.path("old"), "ckpt.pt"), "state 3");
    lab.transfer.trees.set(RESUME, lab.path("old"));
    await lab.start({ kind: "ephemeral" });
    const assignment =
      trainer(`${READING} fs.writeFileSync("w", "4"); say({type: "checkpoint", path: "w"});
      const look = setInterval(() => fs.existsSync("${lab.path("go")}") && process.exit(0), 5);`);
    const job = lab.offer({ ...assignment, attempt: 2, resume });
    await lab.logged(job, "state 3");
    await vi.waitFor(() => expect(recorded(job)).toHaveLength(1), WAIT);
    await go("end");
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.transfer.requests[0]).toMatchObject({ base: RESUME });
    expect(lab.ofType(job, "log")[0]).toMatchObject({
      stream: "waybill",
      line: expect.stringMatching(/^resuming from the checkpoint of attempt 1, .*"epoch":3/),
    });
    expect(lab.ofType(job, "transfer").filter(({ what }) => what === "checkpoint")).toHaveLength(1);
  });

  it("begins from the start, and says so, when the checkpoint is gone", async () => {
    await lab.start();
    const assignment = trainer(`console.log(String(env.WAYBILL_RESUME)); save();`);
    const job = lab.offer({ ...assignment, attempt: 2, resume });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "log").map(({ line }) => line)).toEqual([
      expect.stringMatching(/cannot be had: no artifact .*; starting anew/),
      "undefined",
    ]);
  });
});

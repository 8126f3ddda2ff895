import { spawnSync } from "node:child_process";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Lab } from "../support/lab.ts";
import { runs } from "../support/processes.ts";
import { HELD_TRAINER } from "../support/scripts.ts";
import type { Line, WaybillProcess } from "../support/waybill-process.ts";

const WAIT = { timeout: 30_000, interval: 20 };

describe("a worker daemon", () => {
  let lab: Lab;
  beforeEach(async () => {
    lab = await Lab.open();
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  /** A job whose trainer runs until `release` exists, and a viewer that has seen it train. */
  async function startHeldJob() {
    const { worker, workerId } = await lab.startWorker("desk");
    await mkdir(lab.path("code"));
    const script = `console.log("pid", process.pid);\n${HELD_TRAINER}`;
    await lab.write(
      "code/train.mjs",
      script.replace("import {", "import process from 'node:process';\nimport {"),
    );
    const release = lab.path("release");
    const config = ["--config", `release=${release}`, "--alias", "held"];
    const code = ["--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    const { job } = await lab.ask(["train", ...config, ...code]);
    const viewer = lab.start(["job", "watch", String(job)], "owner");
    const seen = await viewer.until((line) => line["type"] === "metric");
    const said = seen.find((line) => String(line["line"]).startsWith("pid "));
    const pid = Number(String(said?.["line"]).slice(4));
    return {
      job: String(job),
      worker,
      workerId,
      viewer,
      seen,
      pid,
      release: () => writeFile(release, ""),
    };
  }

  async function restartWorker(): Promise<Line> {
    const worker = lab.start(["worker", "--name", "desk"], "desk");
    const lines = await worker.until((line) => line["type"] === "ready");
    worker.drain();
    return lines.at(-1) ?? {};
  }

  async function toEnd(viewer: WaybillProcess, seen: Line[]): Promise<unknown> {
    seen.push(...(await Array.fromAsync(viewer.rest())));
    const numbers = seen.flatMap((line) => (typeof line["seq"] === "number" ? [line["seq"]] : []));
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    return seen.findLast((line) => line["type"] === "state")?.["state"];
  }

  it("that is SIGKILLed while it trains goes on with the trainer after its restart, every line once (I6)", async () => {
    const { worker, workerId, viewer, seen, pid, release } = await startHeldJob();
    const stepsOf = (lines: Line[]) =>
      lines.flatMap(({ type, data }) => (type === "metric" ? [(data as Line)["step"]] : []));
    for (let round = 0; round < 2; round++) {
      await (round === 0 ? worker : lab.lastStarted).kill();
      expect(runs(pid)).toBe(true);
      const before = stepsOf(seen).length;
      // The trainer prints on meanwhile.
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(await restartWorker()).toMatchObject({ workerId });
      seen.push(
        ...(await viewer.until(
          ({ type, data }) => type === "metric" && Number((data as Line)["step"]) > before + 20,
        )),
      );
    }
    expect(runs(pid)).toBe(true);
    await release();
    expect(await toEnd(viewer, seen)).toBe("completed");
    expect(await viewer.exit()).toBe(0);
    const steps = stepsOf(seen);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
    const pids = seen.filter(({ line }) => String(line).startsWith("pid "));
    expect(pids.map(({ line }) => line)).toEqual([`pid ${pid}`]);
    const states = seen.filter(({ type }) => type === "state").map(({ state }) => state);
    expect(states.slice(-2)).toEqual(["running", "completed"]);
  });

  it("that is restarted while the hub is away goes on with its job and waits for the hub", async () => {
    const { worker, viewer, seen, pid, release } = await startHeldJob();
    await lab.hub.kill();
    await worker.kill();
    const restarted = lab.start(["worker", "--name", "desk"], "desk");
    await restarted.until(({ type }) => type === "job.resumed");
    restarted.drain();
    expect(runs(pid)).toBe(true);
    await lab.startHub();
    await release();
    expect(await toEnd(viewer, seen)).toBe("completed");
  });

  it("that is SIGKILLed while its trainer is killed, too, interrupts the job", async () => {
    const { job, worker, viewer, seen, pid } = await startHeldJob();
    await worker.kill();
    const { stdout } = spawnSync("ps", ["-o", "pgid=", "-p", String(pid)], { encoding: "utf8" });
    process.kill(-Number(stdout), "SIGKILL");
    await restartWorker();
    seen.push(
      ...(await viewer.until(({ type, state }) => type === "state" && state === "interrupted")),
    );
    expect(seen.at(-1)).toMatchObject({ reason: expect.stringMatching(/without an exit status/) });
    expect(await lab.ask(["job", "show", job])).toMatchObject({ job });
  });

  it("that is SIGKILLed while it publishes publishes after its restart", async () => {
    const { worker, viewer, seen, release } = await startHeldJob();
    await lab.hub.kill();
    await release();
    // Without a hub the training ends and publishing waits.
    const spool = lab.path("desk/worker/spool");
    await vi.waitFor(async () => {
      const [name = ""] = await readdir(spool);
      expect(await readFile(`${spool}/${name}/run.json`, "utf8")).toContain('"publishing"');
    }, WAIT);
    await worker.kill();
    await lab.startHub();
    await restartWorker();
    expect(await toEnd(viewer, seen)).toBe("completed");
    expect(await viewer.exit()).toBe(0);
    expect(await lab.ask(["model", "pull", "held", lab.path("out")])).toMatchObject({
      bytes: 1_000_000,
    });
  });

  it("that gets SIGTERM interrupts its job, which waits for another worker, and exits with 0", async () => {
    const { job, worker, viewer, pid } = await startHeldJob();
    worker.child.kill("SIGTERM");
    const told = await viewer.until((line) => line["state"] === "queued");
    expect(told.some((line) => line["state"] === "interrupted")).toBe(true);
    expect(await worker.exit()).toBe(0);
    await lab.ask(["job", "cancel", job]);
    viewer.drain();
    expect(await viewer.exit()).toBe(7);
    expect(runs(pid)).toBe(false);
    expect(await readdir(lab.path("desk/worker/spool"))).toEqual([]);
  });

  it("refuses a data directory that another one uses", async () => {
    await lab.startWorker("desk");
    const second = lab.start(["worker"], "desk");
    expect(await second.exit()).toBe(5);
    expect(second.errors).toMatch(/in use by the worker with process id/);
  });
});

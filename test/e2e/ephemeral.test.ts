// A machine that may vanish hands its job over: another goes on from the checkpoint (trainer.md §8, §9).
import { mkdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Lab } from "../support/lab.ts";
import { CHECKPOINT_TRAINER } from "../support/scripts.ts";
import type { Line, WaybillProcess } from "../support/waybill-process.ts";

describe("a job on a worker that may vanish", () => {
  let lab: Lab;
  beforeEach(async () => {
    lab = await Lab.open({ hubOptions: ["--lease", "5s"] });
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", CHECKPOINT_TRAINER);
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  const pod = (name: string) => lab.startWorker(name, ["--kind", "ephemeral"]);
  const release = () => writeFile(lab.path("release"), "");

  async function train(): Promise<{ job: string; viewer: WaybillProcess }> {
    const config = ["--config", `release=${lab.path("release")}`, "--alias", "handed"];
    const code = ["--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    const { job } = await lab.ask(["train", ...config, ...code]);
    return { job: String(job), viewer: lab.start(["job", "watch", String(job)], "owner") };
  }

  const isSafe = ({ type, artifact }: Line) => type === "checkpoint" && artifact !== undefined;
  const dataOf = ({ data }: Line | undefined = {}) => (data ?? {}) as Line;

  /** The number in a line of the trainer's. */
  const stepIn = (seen: Line | undefined) => Number(/\d+/.exec(String(seen?.["line"]))?.[0]);

  /** Reads a watch to its end: every number once, and in order. */
  async function toEnd(viewer: WaybillProcess, seen: Line[]): Promise<void> {
    seen.push(...(await Array.fromAsync(viewer.rest())));
    const numbers = seen.flatMap(({ seq }) => (typeof seq === "number" ? [seq] : []));
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  }

  it("that gets SIGTERM is saved, handed over, and goes on elsewhere where it was", async () => {
    const first = await pod("pod-1");
    const { job, viewer } = await train();
    const seen = await viewer.until(isSafe);
    const startedMs = performance.now();
    first.worker.child.kill("SIGTERM");
    expect(await first.worker.exit()).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(30_000);
    const { resume, state } = await lab.ask(["job", "show", job]);
    expect(state).toBe("queued");
    await pod("pod-2");
    seen.push(...(await viewer.until(({ line }) => String(line).startsWith("resumed at"))));
    const asked = seen.findLast(
      ({ type, data }) => type === "checkpoint" && dataOf({ data })["asked"],
    );
    // The trainer may have written another one of its own accord since, in the same file.
    const kept = Number(dataOf(resume as Line)["step"]);
    expect(kept).toBeGreaterThanOrEqual(Number(dataOf(asked)["step"]));
    expect(stepIn(seen.at(-1))).toBeGreaterThanOrEqual(kept);
    await release();
    await toEnd(viewer, seen);
    expect(await viewer.exit()).toBe(0);
    const model = await lab.ask(["model", "pull", "handed", lab.path("out")]);
    expect(model).toMatchObject({ bytes: 1000 });
  });

  it("that is SIGKILLed goes on elsewhere from the newest checkpoint that was safe, adjusted as it was", async () => {
    const first = await pod("pod-1");
    const { job, viewer } = await train();
    const seen = await viewer.until(isSafe);
    await lab.ask(["job", "adjust", job, "lr=0.01"]);
    const isTaken = ({ type, stage }: Line) => type === "command" && stage === "applied";
    seen.push(...(await viewer.until(isTaken)));
    const adjusted = { lr: 0.01 };
    await vi.waitFor(
      async () => expect(await lab.ask(["job", "show", job])).toMatchObject({ adjusted }),
      { timeout: 10_000, interval: 200 },
    );
    await first.worker.kill();
    await pod("pod-2");
    seen.push(...(await viewer.until(({ line }) => String(line).startsWith("resumed at"))));
    const safe = dataOf(seen.findLast((line) => isSafe(line)))["step"];
    // Others may have become safe of which their worker could not tell any more.
    expect(stepIn(seen.at(-1))).toBeGreaterThanOrEqual(Number(safe));
    seen.push(...(await viewer.until(({ line }) => String(line).startsWith('{"adjusted"'))));
    await release();
    await toEnd(viewer, seen);
    const carried = seen.filter(
      ({ attempt, line }) => attempt === 2 && /adjusted/.test(String(line)),
    );
    expect(carried.map(({ line }) => line)).toEqual([
      'beginning with what was adjusted before: {"lr":0.01}',
      '{"adjusted":{"lr":0.01},"id":"adjusted"}',
    ]);
    expect(await viewer.exit()).toBe(0);
  });

  it("takes new values and is asked for a checkpoint, each acknowledged twice", async () => {
    await pod("pod-1");
    const { job, viewer } = await train();
    const seen = await viewer.until(({ type }) => type === "metric");
    await lab.ask(["job", "adjust", job, "lr=0.01"]);
    await lab.ask(["job", "checkpoint", job]);
    seen.push(
      ...(await viewer.until(
        ({ type, name, stage }) =>
          type === "command" && name === "checkpoint" && stage === "applied",
      )),
    );
    const commands = seen.filter(({ type }) => type === "command");
    expect(commands).toMatchObject([
      { name: "adjust", stage: "received", values: { lr: 0.01 } },
      { name: "adjust", stage: "applied", values: { lr: 0.01 } },
      { name: "checkpoint", stage: "received" },
      { name: "checkpoint", stage: "applied" },
    ]);
    await release();
    await toEnd(viewer, seen);
    expect(await viewer.exit()).toBe(0);
  });
});

// A worker that is cut off for longer than its lease: another one gets the job, and then the path heals. Two attempts
// are alive; there is one result, and the log belongs to one of them at a time (I5, I6, I11).
import { mkdir, readdir, rm } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FaultProxy } from "../support/fault-proxy.ts";
import { Lab } from "../support/lab.ts";
import { runs } from "../support/processes.ts";
import { type Line, type WaybillProcess, runWaybill } from "../support/waybill-process.ts";

/** Says who it is and counts until a file with its own process id appears; its model is that id. */
const TRAINER = `
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
const { release } = JSON.parse(readFileSync(process.env.WAYBILL_CONFIG, "utf8"));
console.log("pid " + process.pid);
let n = 0;
const timer = setInterval(() => {
  n += 1;
  console.log(JSON.stringify({ n }));
  if (!existsSync(release + process.pid)) return;
  clearInterval(timer);
  writeFileSync(path.join(process.env.WAYBILL_OUTPUT, "pid"), String(process.pid));
}, 20);
`;
const WAIT = { timeout: 30_000, interval: 20 };

describe("a partition that outlasts a lease", () => {
  let lab: Lab;
  let cutOff: FaultProxy;
  let viewer: WaybillProcess;
  let seen: Line[];
  let job: string;
  beforeEach(async () => {
    lab = await Lab.open({ hubOptions: ["--lease", "2s"] });
    cutOff = await new FaultProxy(() => Number(new URL(lab.hubUrl).port)).start();
    await mkdir(lab.path("code"));
    await lab.write("code/train.mjs", TRAINER);
  });
  afterEach(async () => {
    await lab[Symbol.asyncDispose]();
    await cutOff[Symbol.asyncDispose]();
  });

  const release = (pid: number) => lab.write(`release-${pid}`, "");

  /** Reads on until a trainer of this attempt has told its process id and a number. */
  async function trainerOf(attempt: number): Promise<number> {
    const lines = await viewer.until(
      (line) => line["type"] === "metric" && line["attempt"] === attempt,
    );
    seen.push(...lines);
    const said = lines.find((line) => String(line["line"]).startsWith("pid "));
    return Number(String(said?.["line"]).slice(4));
  }

  /** A job that "a" trains and "b" has been given, because nothing was heard of "a"; both trainers run. */
  async function twoAlive(): Promise<{ a: number; b: number }> {
    await lab.startWorker("a", ["--hub", cutOff.url]);
    const config = ["--config", `release=${lab.path("release-")}`, "--alias", "it"];
    const code = ["--code", lab.path("code"), "--detach", "--", "node", "train.mjs"];
    job = String((await lab.ask(["train", ...config, ...code]))["job"]);
    viewer = lab.start(["job", "watch", job], "owner");
    seen = [];
    const a = await trainerOf(1);
    cutOff.silence();
    await lab.startWorker("b");
    const b = await trainerOf(2);
    expect([a, b].map(runs)).toEqual([true, true]);
    return { a, b };
  }

  /** The job is b's, whatever a did and does. */
  async function expectResultOf(b: number): Promise<void> {
    seen.push(...(await Array.fromAsync(viewer.rest())));
    expect(await viewer.exit(), viewer.errors).toBe(0);
    const numbers = seen.flatMap((line) => (typeof line["seq"] === "number" ? [line["seq"]] : []));
    expect(numbers).toEqual([...new Set(numbers)].toSorted((one, other) => one - other));
    const attempts = seen.flatMap((line) =>
      typeof line["attempt"] === "number" ? [line["attempt"]] : [],
    );
    expect(attempts).toEqual(attempts.toSorted((one, other) => one - other));
    const counted = seen.flatMap((line) =>
      line["attempt"] === 2 && line["type"] === "metric" ? [(line["data"] as Line)["n"]] : [],
    );
    expect(counted).toEqual(counted.map((_, i) => i + 1));
    const states = seen.filter((line) => line["type"] === "state").map((line) => line["state"]);
    expect(states.slice(-3)).toEqual(["assigned", "running", "completed"]);
    expect(states.filter((state) => state === "completed")).toHaveLength(1);
    expect(await lab.ask(["job", "show", job])).toMatchObject({ state: "completed", attempt: 2 });
    await expectOnlyModelOf(b);
  }

  async function expectOnlyModelOf(b: number): Promise<void> {
    const { lines } = await runWaybill(["model", "ls"], lab.machine("owner"));
    expect(lines).toHaveLength(1);
    await rm(lab.path("out"), { recursive: true, force: true });
    await lab.ask(["model", "pull", "it", lab.path("out")]);
    expect(await lab.read("out/pid")).toBe(String(b));
  }

  /** The late worker has got over its attempt. */
  async function expectForgottenByA(): Promise<void> {
    await vi.waitFor(async () => {
      expect(await readdir(lab.path("a/worker/spool"))).toEqual([]);
    }, WAIT);
  }

  it("that heals while the second attempt trains ends the first one's trainer", async () => {
    const { a, b } = await twoAlive();
    cutOff.heal();
    await vi.waitFor(() => expect(runs(a)).toBe(false), WAIT);
    expect(runs(b)).toBe(true);
    await release(b);
    await expectResultOf(b);
  });

  it("that heals after the second attempt has ended changes nothing, and ends the first one's trainer", async () => {
    const { a, b } = await twoAlive();
    await release(b);
    await expectResultOf(b);
    expect(runs(a)).toBe(true);
    cutOff.heal();
    await vi.waitFor(() => expect(runs(a)).toBe(false), WAIT);
    await expectForgottenByA();
    await expectOnlyModelOf(b);
  });

  it("during which the first attempt ends, too, has the second one's result alone", async () => {
    const { a, b } = await twoAlive();
    await release(a);
    await vi.waitFor(() => expect(runs(a)).toBe(false), WAIT);
    cutOff.heal();
    await release(b);
    await expectResultOf(b);
    await expectForgottenByA();
    await expectOnlyModelOf(b);
  });
});

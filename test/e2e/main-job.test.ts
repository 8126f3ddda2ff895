import { mkdir, readFile, readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import {
  ENDLESS_TRAINER,
  FAILING_TRAINER,
  QUICK_TRAINER,
  UNTIDY_TRAINER,
} from "../support/scripts.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";

const types = (lines: Line[]) => [...new Set(lines.map((line) => line["type"]))];
const events = (lines: Line[]) => lines.filter((line) => typeof line["seq"] === "number");
const seqs = (lines: Line[]) => events(lines).map((line) => line["seq"]);
const states = (lines: Line[]) =>
  lines.filter((line) => line["type"] === "state").map((line) => line["state"]);

describe("the main job", () => {
  let lab: Lab;
  let code: string;

  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
    await mkdir(lab.path("data"));
    await lab.write("data/train.csv", "a,b\n1,2\n");
    await lab.write("data/test.csv", "a,b\n3,4\n");
    code = lab.path("code");
    await mkdir(code);
    await lab.write("code/train.mjs", QUICK_TRAINER);
    await lab.write("code/endless.mjs", ENDLESS_TRAINER);
    await lab.write("code/fail.mjs", FAILING_TRAINER);
    await lab.write("code/untidy.mjs", UNTIDY_TRAINER);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const train = (words: readonly string[], trainer: readonly string[]) =>
    runWaybill(
      ["train", "--dataset", lab.path("data"), ...words, "--", ...trainer],
      lab.machine("owner"),
      { cwd: code },
    );
  const detached = async (trainer: string, words: readonly string[] = []) => {
    const { lines, errors } = await train([...words, "--detach"], ["node", trainer]);
    expect(lines, errors).toHaveLength(1);
    return String(lines[0]?.["job"]);
  };

  it("pushes, trains, publishes under an alias with tags and pulls by it elsewhere", async () => {
    const {
      code: exit,
      lines,
      errors,
    } = await train(
      ["--alias", "prod-v1", "--tag", "baseline", "--config", "epochs=4"],
      ["node", "train.mjs"],
    );
    expect(exit, errors).toBe(0);
    expect(states(lines)).toEqual(["queued", "assigned", "running", "completed"]);
    expect(types(lines)).toEqual(
      expect.arrayContaining(["state", "log", "metric", "transfer", "result", "published"]),
    );
    const metrics = lines.filter((line) => line["type"] === "metric");
    expect(metrics.map((line) => line["data"])).toEqual(
      [1, 2, 3, 4].map((epoch) => ({ epoch, epochs: 4, loss: 1 / epoch, note: "kept as it is" })),
    );
    expect(lines.find((line) => line["type"] === "log")).toMatchObject({
      line: "files: test.csv,train.csv",
    });
    const published = lines.find((line) => line["type"] === "published");
    const dataset = expect.stringMatching(/^dataset-[0-9a-f]{8}$/);
    expect(published).toMatchObject({ alias: "prod-v1", tags: ["baseline", dataset] });

    const { code: invite } = await lab.ask(["room", "invite", "--role", "viewer"]);
    await lab.ask(["room", "join", String(invite)], "elsewhere");
    const pulled = await lab.ask(["model", "pull", "prod-v1", lab.path("out")], "elsewhere");
    expect(pulled).toMatchObject({
      type: "done",
      model: published?.["model"],
      aliases: expect.arrayContaining(["prod-v1", "latest-model"]),
    });
    expect(await readdir(lab.path("out"))).toEqual(["model.json", "weights.bin"]);
    expect(await readFile(lab.path("out", "weights.bin"))).toEqual(Buffer.alloc(100_000, 7));
  });

  it("replays a finished job from any number on, without gap or repeat (I6)", async () => {
    const job = await detached("train.mjs");
    const whole = await runWaybill(["job", "watch", job], lab.machine("owner"));
    expect(whole.code).toBe(0);
    const numbers = seqs(whole.lines);
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    const rest = await runWaybill(["job", "watch", job, "--since", "4"], lab.machine("owner"));
    const strip = (lines: Line[]) => events(lines).map((line) => ({ ...line, via: undefined }));
    expect(strip(rest.lines)).toEqual(strip(whole.lines).slice(4));
  });

  it("lets several viewers see every event live", async () => {
    const job = await detached("endless.mjs");
    const viewers = [1, 2, 3].map(() => lab.start(["job", "watch", job], "owner"));
    const before = await Promise.all(
      viewers.map((viewer) =>
        viewer.until(
          (line) => line["type"] === "metric" && Number((line["data"] as Line)["step"]) > 40,
        ),
      ),
    );
    await lab.ask(["job", "stop", job]);
    const after = await Promise.all(viewers.map(async (viewer) => Array.fromAsync(viewer.rest())));
    for (const [i, viewer] of viewers.entries()) {
      expect(await viewer.exit()).toBe(0);
      const numbers = seqs([...(before[i] ?? []), ...(after[i] ?? [])]);
      expect(numbers).toEqual(numbers.map((_, at) => at + 1));
    }
  });

  it("pauses, resumes and stops early, each acknowledged as received and applied; the model is kept", async () => {
    const job = await detached("endless.mjs", ["--alias", "early"]);
    const viewer = lab.start(["job", "watch", job], "owner");
    const seen = await viewer.until((line) => line["type"] === "metric");
    for (const name of ["pause", "resume", "stop"]) {
      const {
        code: exit,
        lines,
        errors,
      } = await runWaybill(["job", name, job], lab.machine("owner"));
      expect(exit, errors).toBe(0);
      expect(lines.map((line) => line["stage"])).toEqual(["received", "applied"]);
    }
    seen.push(...(await Array.fromAsync(viewer.rest())));
    expect(await viewer.exit()).toBe(0);
    expect(states(seen)).toEqual([
      "queued",
      "assigned",
      "running",
      "paused",
      "running",
      "stopping",
      "completed",
    ]);
    const between = (from: unknown, to: unknown) => {
      const at = (state: unknown) =>
        seen.findIndex((line) => line["type"] === "state" && line["state"] === state);
      return seen.slice(
        at(from),
        at(to) === -1
          ? undefined
          : seen.findIndex((line, i) => i > at(from) && line["type"] === "state"),
      );
    };
    expect(between("paused", "running").filter((line) => line["type"] === "metric")).toEqual([]);
    expect(seen.find((line) => line["type"] === "result")).toMatchObject({ stoppedEarly: true });
    expect(await lab.ask(["model", "show", "early"])).toMatchObject({
      training: { stopped_early: true },
    });
  });

  it("cancels a running job without a model and exits with 7", async () => {
    const job = await detached("endless.mjs", ["--alias", "never"]);
    const viewer = lab.start(["job", "watch", job], "owner");
    await viewer.until((line) => line["type"] === "metric");
    await lab.ask(["job", "cancel", job]);
    viewer.drain();
    expect(await viewer.exit()).toBe(7);
    expect((await runWaybill(["model", "show", "never"], lab.machine("owner"))).code).toBe(4);
  });

  it("reports a trainer that fails with its last words and exits with 1", async () => {
    const { code: exit, lines } = await train([], ["node", "fail.mjs"]);
    expect(exit).toBe(1);
    const last = lines.findLast((line) => line["type"] === "state");
    expect(last).toMatchObject({ state: "failed", exitCode: 3 });
    expect(String(last?.["reason"])).toContain("CUDA is out of memory");
  });

  it("publishes a model without the link that leaves it, and says so; NaN is a metric", async () => {
    const {
      code: exit,
      lines,
      errors,
    } = await train(["--alias", "untidy"], ["node", "untidy.mjs"]);
    expect(exit, errors).toBe(0);
    expect(lines.find((line) => line["type"] === "metric")).toMatchObject({
      data: { loss: "NaN" },
    });
    const told = lines.filter((line) => line["stream"] === "waybill").map((line) => line["line"]);
    expect(told.join("\n")).toContain("stray.png");
    expect(await lab.ask(["model", "show", "untidy"])).toMatchObject({
      storage: { files: ["weights.bin"] },
    });
  });

  it("queues a job that nobody can take, says why, and cancels it at once", async () => {
    const job = await detached("train.mjs", ["--gpus", "8"]);
    expect(await lab.ask(["job", "show", job])).toMatchObject({
      state: "queued",
      reason: expect.stringContaining("GPU"),
    });
    const { lines } = await runWaybill(["job", "cancel", job], lab.machine("owner"));
    expect(lines.map((line) => line["stage"])).toEqual(["applied"]);
    expect((await runWaybill(["job", "watch", job], lab.machine("owner"))).code).toBe(7);
  });

  it("starts the next job of the queue when the worker is free", async () => {
    const first = await detached("endless.mjs");
    const second = await detached("train.mjs");
    const viewer = lab.start(["job", "watch", first], "owner");
    await viewer.until((line) => line["type"] === "metric");
    viewer.drain();
    expect(await lab.ask(["job", "show", second])).toMatchObject({ state: "queued" });
    await lab.ask(["job", "cancel", first]);
    expect((await runWaybill(["job", "watch", second], lab.machine("owner"))).code).toBe(0);
  });

  it("goes on when the client that submitted is killed", async () => {
    const client = lab.start(
      ["train", "--dataset", lab.path("data"), "--alias", "orphan", "--", "node", "train.mjs"],
      "owner",
      { cwd: code },
    );
    // From then on the worker has the data set, which goes straight to it.
    const lines = await client.until((line) => line["state"] === "running");
    await client.kill();
    const job = String(lines.find((line) => line["type"] === "submitted")?.["job"]);
    expect((await runWaybill(["job", "watch", job], lab.machine("owner"))).code).toBe(0);
    expect(await lab.ask(["model", "show", "orphan"])).toMatchObject({ training: { job } });
  });
});

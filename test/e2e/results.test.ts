import { mkdir, readFile, readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";

/** Leaves a model, predictions and two thumbnails, and tells a loss that its configuration names. */
const SHOWING_TRAINER = `
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
const out = process.env.WAYBILL_OUTPUT;
const { loss = 0.5 } = JSON.parse(readFileSync(process.env.WAYBILL_CONFIG, "utf8"));
writeFileSync(path.join(out, "weights.bin"), Buffer.alloc(1000, 7));
mkdirSync(path.join(out, "thumbnails"));
const png = Buffer.from("89504e470d0a1a0a0000", "hex");
for (const i of [1, 2]) writeFileSync(path.join(out, "thumbnails", i + ".png"), Buffer.concat([png, Buffer.from([i])]));
writeFileSync(path.join(out, "predictions.jsonl"), Array.from({ length: 150 }, (_, frame) => JSON.stringify({ frame }) + "\\n").join(""));
console.log(JSON.stringify({ type: "result", val_loss: loss }));
`;

/** Leaves the two models of a topdown pipeline. */
const POSE_TRAINER = `
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
const out = process.env.WAYBILL_OUTPUT;
for (const part of ["centroid", "centered_instance"]) {
  mkdirSync(path.join(out, part));
  writeFileSync(path.join(out, part, "best.ckpt"), part);
}
writeFileSync(path.join(out, "config.yaml"), "skeleton: mouse");
console.log(JSON.stringify({ "centroid/val_loss": 0.1, "centered_instance/val_loss": 0.2 }));
`;

const ofType = (lines: readonly Line[], type: string) =>
  lines.filter((line) => line["type"] === type);

describe("results", () => {
  let lab: Lab;
  let code: string;

  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
    code = lab.path("code");
    await mkdir(code);
    await lab.write("code/show.mjs", SHOWING_TRAINER);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const train = async (words: readonly string[]) => {
    const argv = ["train", ...words, "--", "node", "show.mjs"];
    const outcome = await runWaybill(argv, lab.machine("owner"), { cwd: code });
    expect(outcome.code, outcome.errors).toBe(0);
    return outcome;
  };

  it("tell viewers id, alias-to-be, metrics, predictions and thumbnails before the model is up", async () => {
    const { lines } = await train(["--alias", "shown", "--model-type", "unet"]);
    const [result] = ofType(lines, "result");
    const [published] = ofType(lines, "published");
    expect(result).toMatchObject({
      data: { val_loss: 0.5 },
      alias: "shown",
      model: published?.["model"],
      modelType: "unet",
      predictions: { rows: 100, leftOut: 0, more: true },
      thumbnails: 2,
    });
    const rows = ofType(lines, "predictions").flatMap((line) => line["rows"]);
    expect(rows).toEqual(Array.from({ length: 100 }, (_, frame) => ({ frame })));
    expect(ofType(lines, "sample").map((line) => line["data"])).toEqual([
      { type: "thumbnail", file: "thumbnails/1.png" },
      { type: "thumbnail", file: "thumbnails/2.png" },
    ]);
    const at = (line: Line | undefined) => lines.indexOf(line ?? {});
    const uploads = ofType(lines, "transfer").filter((line) => line["what"] === "model");
    expect(at(ofType(lines, "predictions")[0])).toBeGreaterThan(at(result));
    expect(at(uploads[0])).toBeGreaterThan(at(ofType(lines, "predictions").at(-1)));
    expect(at(published)).toBeGreaterThan(at(uploads.at(-1)));
  });

  it("are announced to everybody in the room once the registry names the model", async () => {
    await using watching = lab.start(["model", "watch", "--type", "announced"], "owner");
    await watching.until((line) => line["type"] === "watching");
    await train(["--model-type", "overlooked"]);
    await train(["--model-type", "announced", "--alias", "heard"]);
    const told = await watching.next();
    const shown = await lab.ask(["model", "show", "heard"]);
    expect(told).toMatchObject({
      model: shown["id"],
      modelType: "announced",
      alias: "heard",
      artifact: shown["artifact"],
      bytes: expect.any(Number),
      job: expect.stringMatching(/^j_/),
      worker: expect.stringMatching(/^p_/),
    });
  });

  it("of a topdown job are two models and the pipeline of them, which one pull brings", async () => {
    await lab.write("code/pose.mjs", POSE_TRAINER);
    const argv = ["train", "--model-type", "topdown", "--alias", "pose", "--", "node", "pose.mjs"];
    const trained = await runWaybill(argv, lab.machine("owner"), { cwd: code });
    expect(trained.code, trained.errors).toBe(0);
    const [published] = ofType(trained.lines, "published");
    const whole = await lab.ask(["model", "show", "pose"]);
    expect(published).toMatchObject({ model: whole["id"], modelType: "topdown", alias: "pose" });
    const parts = published?.["parts"] as Line[];
    expect(parts.map((part) => part["modelType"])).toEqual(["centroid", "centered_instance"]);
    const centroid = await lab.ask(["model", "show", "latest-centroid"]);
    expect(centroid).toMatchObject({
      id: parts[0]?.["model"],
      artifact: parts[0]?.["artifact"],
      training: { metrics: { val_loss: 0.1 } },
    });

    const pulled = await lab.ask(["model", "pull", "pose", lab.path("pose")]);
    expect(pulled).toMatchObject({ model: whole["id"], parts: [{}, {}] });
    const files = await readdir(lab.path("pose"), { recursive: true });
    expect(files.toSorted()).toEqual([
      "centered_instance",
      "centered_instance/best.ckpt",
      "centroid",
      "centroid/best.ckpt",
      "config.yaml",
      "pipeline.json",
    ]);
    expect(await readFile(lab.path("pose/centroid/best.ckpt"), "utf8")).toBe("centroid");
    const described = JSON.parse(await readFile(lab.path("pose/pipeline.json"), "utf8")) as Line;
    expect(described).toMatchObject({
      type: "topdown",
      parts: parts.map(({ model, artifact }) => ({ model, artifact })),
    });
  });

  it("of a topdown job are one pipeline, whole, although its worker was killed as it began to send them (I5)", async () => {
    await lab.write("code/large.mjs", POSE_TRAINER.replace("part);", "part.repeat(4_000_000));"));
    const pinned = ["--worker", "brittle", "--alias", "whole", "--model-type", "topdown"];
    const { worker } = await lab.startWorker("brittle");
    const viewer = lab.start(
      ["train", ...pinned, "--code", code, "--", "node", "large.mjs"],
      "owner",
    );
    await viewer.until((line) => line["type"] === "result");
    await worker.kill();
    const killed = lab.start(["worker", "--name", "brittle"], "brittle");
    await killed.until((line) => line["type"] === "ready");
    killed.drain();
    const lines = await Array.fromAsync(viewer.rest());
    expect(await viewer.exit()).toBe(0);
    const [published] = ofType(lines, "published");
    const whole = await lab.ask(["model", "show", "whole"]);
    const parts = published?.["parts"] as Line[];
    expect(whole).toMatchObject({
      id: published?.["model"],
      pipeline: {
        parts: parts.map(({ model, modelType }) => ({ model, model_type: modelType })),
      },
    });
    const { job } = whole["training"] as Line;
    const all = (await runWaybill(["model", "ls"], lab.machine("owner"))).lines;
    const ofJob = all.filter((model) => Object(model["training"]).job === job);
    expect(ofJob.map((model) => String(model["model_type"])).toSorted()).toEqual([
      "centered_instance",
      "centroid",
      "topdown",
    ]);
    expect(ofType(lines, "result")).toEqual([]);
  });

  it("of a sweep are compared: the tag is on the best, and nobody else gives it", async () => {
    const losses = [0.4, 0.2, 0.3];
    for (const loss of losses) {
      const sweep = ["--sweep", "lr", "--sweep-metric", "val_loss", "--alias", `trial-${loss}`];
      await train(["--config", `loss=${loss}`, ...sweep]);
    }
    const tags = await Promise.all(
      losses.map(async (loss) => (await lab.ask(["model", "show", `trial-${loss}`]))["tags"]),
    );
    expect(tags).toEqual([[], ["best-of-sweep"], []]);
    const machine = lab.machine("owner");
    const refused = await runWaybill(["model", "tag", "trial-0.4", "best-of-sweep"], machine);
    expect(refused.code).toBe(2);
  });
});

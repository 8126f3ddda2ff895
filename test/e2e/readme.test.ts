import { spawnSync } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { runWaybill } from "../support/waybill-process.ts";

const python = spawnSync("python3", ["--version"]).status === 0;
if (!python) console.log("skipped: the README's trainer needs python3 (apt-get install python3)");

describe.skipIf(!python)("the README", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
    await lab.startWorker("desk");
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  it("shows a train.py that trains, is seen and leaves a model", async () => {
    const readme = await readFile(path.join(import.meta.dirname, "../../README.md"), "utf8");
    const [, script = ""] = /```python\n([\s\S]*?)```/.exec(readme) ?? [];
    await mkdir(lab.path("data"));
    await lab.write("data/a.csv", "1,2");
    await mkdir(lab.path("project"));
    await lab.write("project/train.py", script);
    const words = [
      "train",
      "--dataset",
      lab.path("data"),
      "--alias",
      "prod-v1",
      "--tag",
      "baseline",
    ];
    const { code, lines, errors } = await runWaybill(
      [...words, "--", "python3", "train.py"],
      lab.machine("owner"),
      { cwd: lab.path("project") },
    );
    expect(code, errors).toBe(0);
    expect(lines.find((line) => line["type"] === "metric")).toMatchObject({
      data: { epoch: 1, loss: 0.31 },
    });
    await lab.ask(["model", "pull", "prod-v1", lab.path("out")]);
    expect(await readFile(lab.path("out", "model.txt"), "utf8")).toBe("trained on a.csv");
  });
});

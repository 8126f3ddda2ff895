import { describe, expect, it } from "vitest";
import { specOf } from "./train-spec.ts";

describe("the job a command line describes", () => {
  it("has what was given and nothing else", async () => {
    const spec = await specOf(["python3", "train.py"], {
      config: ["lr=0.1", "name=x"],
      where: ["gpu.memoryMb >= 24000"],
      maxAttempts: 3,
    });
    expect(spec).toMatchObject({
      command: ["python3", "train.py"],
      config: { lr: 0.1, name: "x" },
      requirements: { where: ["gpu.memoryMb >= 24000"] },
      maxAttempts: 3,
    });
    expect(spec).not.toHaveProperty("trainer");
  });

  it("is refused with every field that is wrong, all at once", async () => {
    const wrong = specOf([], {
      env: { "not a name": "x" },
      alias: "latest-unet",
      tag: ["fine", "not fine"],
      where: ["cpus >= 4", "gpu.memry >= 24000"],
      maxAttempts: 0,
      worker: "desk",
    });
    const error: unknown = await wrong.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "invalid_request" });
    const lines = String(error).split("\n  ").slice(1);
    expect(
      lines.map((line) => line.split(": ")[0] ?? "").toSorted((a, b) => a.localeCompare(b)),
    ).toEqual([
      "spec",
      "spec.alias",
      "spec.env.not a name",
      "spec.maxAttempts",
      "spec.requirements.where[1]",
      "spec.requirements.worker",
      "spec.tags[1]",
    ]);
    expect(String(error)).toContain("no field gpu.memry");
  });

  it("is part of a sweep whose best is the least, unless the metric sounds as if it were the greatest", async () => {
    const sweepOf = async (over: object) => (await specOf(["x"], { sweep: "lr", ...over })).sweep;
    expect(await sweepOf({ sweepMetric: "val_loss" })).toEqual({
      name: "lr",
      metric: "val_loss",
      mode: "min",
    });
    expect(await sweepOf({ sweepMetric: "val/f1", sweepMode: "max" })).toMatchObject({
      mode: "max",
    });
    await expect(sweepOf({ sweepMetric: "val_acc" })).rejects.toThrow(/least or the greatest/);
    await expect(sweepOf({})).rejects.toThrow(/--sweep-metric/);
  });

  it("names either a command or a trainer", async () => {
    await expect(specOf(["x"], { trainer: "sleap" })).rejects.toThrow(/spec: give either/);
    await expect(specOf([], {})).rejects.toThrow(/spec: give either/);
  });
});

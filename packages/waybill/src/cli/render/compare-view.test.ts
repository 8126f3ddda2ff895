import type { ModelId } from "@waybill/sdk/protocol";
import type { Comparison } from "@waybill/sdk/registry";
import { describe, expect, it } from "vitest";
import { compareLines, comparedCurves } from "./compare-view.ts";

const [a, b] = ["3fa94c01", "99e1d0aa"] as ModelId[] as [ModelId, ModelId];
const values = (one: unknown, other: unknown) => ({ [a]: one, [b]: other });
const COMPARISON: Comparison = {
  models: [a, b],
  facts: [
    { key: "type", values: values("unet", "unet"), differs: false },
    { key: "dataset", values: values("ab".repeat(32), "cd".repeat(32)), differs: true },
  ],
  config: [
    { key: "lr", values: values(0.1, 0.01), differs: true },
    { key: "epochs", values: values(4, 4), differs: false },
    { key: "model.augmentation.rotation_max_angle", values: { [a]: 15 }, differs: true },
  ],
  metrics: [
    { key: "val_loss", values: values(0.021, 0.031), differs: true, direction: "lower", best: [a] },
    { key: "same", values: values(1, 1), differs: false, best: [] },
  ],
};
const names = { [a]: "prod-v2, latest-unet", [b]: "prod-v1" };
const line = (...ys: number[]) => ({
  axis: "epoch" as const,
  points: ys.map((y, i) => [i + 1, y] as const),
});

describe("models side by side on the screen", () => {
  it("differ in what is shown; the better metric is marked; curves share scale and places", () => {
    const curves = comparedCurves(COMPARISON.models, [
      new Map([["val_loss", line(0.9, 0.4, 0.2, 0.021)]]),
      new Map([["val_loss", line(0.9, 0.031)]]),
    ]);
    const lines = compareLines(COMPARISON, curves, { width: 80, all: false, names });
    expect(lines).toEqual([
      "                                3fa94c01                99e1d0aa",
      "                                prod-v2, latest-unet    prod-v1",
      "  dataset                       abababababab            cdcdcdcdcdcd",
      "",
      "config",
      "  lr                            0.1000                  0.01000",
      "  model.augmentation.rotation_max_angle",
      "                                15                      –",
      "",
      "metrics (* the better one)",
      "  val_loss                      0.02100 *               0.03100",
      "  same                          1                       1",
      "",
      "curves",
      "  val_loss, epoch 1–4",
      "    3fa94c01  █▄▂▁  0.9000 → 0.02100",
      "    99e1d0aa  █▁    0.9000 → 0.03100",
    ]);
  });

  it("are shown with what is equal, too, when that is asked for", () => {
    const text = compareLines(COMPARISON, [], { width: 80, all: true, names }).join("\n");
    expect(text).toContain("epochs");
    expect(text).toContain("unet");
  });

  it("are listed below each other where columns would not fit", () => {
    const models = Array.from({ length: 8 }, (_, i) => `${i}`.repeat(8) as ModelId);
    const many: Comparison = {
      models,
      facts: [],
      config: [{ key: "lr", values: { "00000000": 0.1 }, differs: true }],
      metrics: [],
    };
    const lines = compareLines(many, [], { width: 80, all: false, names: {} });
    expect(lines.slice(8, 13)).toEqual([
      "",
      "config",
      "  lr",
      "    00000000  0.1000",
      "    11111111  –",
    ]);
  });

  it("never pass the screen's edge", () => {
    const long = { key: "note", values: values("word ".repeat(40), "x".repeat(90)), differs: true };
    const comparison = { ...COMPARISON, config: [long] };
    const curves = comparedCurves(COMPARISON.models, [
      new Map([["loss", line(...Array.from({ length: 500 }, (_, i) => 1 / (i + 1)))]]),
      new Map([["loss", { axis: "step" as const, points: [[7, 1e-9] as const] }]]),
    ]);
    expect(curves[0]?.axis).toBe("line");
    const lines = compareLines(comparison, curves, { width: 80, all: false, names });
    expect(Math.max(...lines.map((text) => text.length))).toBeLessThanOrEqual(80);
    expect(lines.join("").replaceAll(/[^x]/g, "").length).toBeGreaterThanOrEqual(90);
  });
});

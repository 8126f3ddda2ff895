import { describe, expect, it } from "vitest";
import { metricDirection } from "./metric-direction.ts";

describe("a metric's direction", () => {
  it.each([
    ["loss", "lower"],
    ["val_loss", "lower"],
    ["valLoss", "lower"],
    ["error_rate", "lower"],
    ["dist.p95", "lower"],
    ["RMSE", "lower"],
    ["val/accuracy", "higher"],
    ["oks.mOKS", "higher"],
    ["F1", "higher"],
    ["lr", undefined],
    ["lossless", undefined],
    ["accuracy_loss", undefined],
  ])("%s: %s", (key, direction) => {
    expect(metricDirection(key)).toBe(direction);
  });
});

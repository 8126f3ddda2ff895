import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ArtifactId, ModelEntry } from "../protocol/index.ts";
import { compareModels } from "./compare.ts";
import { entryOf } from "./entry.fixture.ts";

function modelOf(id: string, training: Partial<ModelEntry["training"]>): ModelEntry {
  const entry = entryOf(id);
  return { ...entry, training: { ...entry.training, ...training } };
}

describe("models side by side", () => {
  const a = modelOf("aaaaaaaa", {
    dataset: "d".repeat(64) as ArtifactId,
    metrics: { val_loss: 0.2, acc: 0.9, lr: 1, same: 1, loss: "NaN" },
    config: { lr: 0.1, model: { filters: 32, deep: [1, 2] }, note: null },
  });
  const b = modelOf("bbbbbbbb", {
    seed: 3,
    metrics: { val_loss: 0.1, acc: 0.9, lr: 2, same: 1, loss: 0.3 },
    config: { lr: 0.1, model: { filters: 64, deep: [1, 2] } },
  });

  it("say which settings differ, nested ones by their keys", () => {
    const { config, models } = compareModels([a, b]);
    expect(models).toEqual(["aaaaaaaa", "bbbbbbbb"]);
    expect(config).toEqual([
      { key: "lr", values: { aaaaaaaa: 0.1, bbbbbbbb: 0.1 }, differs: false },
      { key: "model.filters", values: { aaaaaaaa: 32, bbbbbbbb: 64 }, differs: true },
      { key: "model.deep", values: { aaaaaaaa: [1, 2], bbbbbbbb: [1, 2] }, differs: false },
      { key: "note", values: { aaaaaaaa: null }, differs: true },
    ]);
  });

  it("say what they were made of", () => {
    const { facts } = compareModels([a, b]);
    const different = facts.filter(({ differs }) => differs).map(({ key }) => key);
    expect(different).toEqual(["dataset", "artifact", "seed"]);
  });

  it("mark the better metric when the direction is known, or asked for", () => {
    const best = (asked = {}) =>
      Object.fromEntries(compareModels([a, b], asked).metrics.map((one) => [one.key, one.best]));
    expect(best()).toEqual({
      val_loss: ["bbbbbbbb"],
      // As good as each other, and nothing to compare with.
      acc: [],
      same: [],
      loss: [],
      lr: [],
    });
    expect(best({ lr: "lower" })["lr"]).toEqual(["aaaaaaaa"]);
    expect(best({ val_loss: "higher" })["val_loss"]).toEqual(["aaaaaaaa"]);
  });

  it("differ in nothing from themselves", () => {
    const config = fc.dictionary(fc.string(), fc.jsonValue());
    fc.assert(
      fc.property(config, (one) => {
        const twin = (id: string) => modelOf(id, { config: one, metrics: structuredClone(one) });
        const compared = compareModels([twin("aaaaaaaa"), twin("bbbbbbbb")]);
        for (const { differs } of [...compared.config, ...compared.metrics])
          expect(differs).toBe(false);
        for (const { best } of compared.metrics) expect(best).toEqual([]);
      }),
    );
  });
});

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flatConfig } from "./flat-config.ts";

describe("a flat configuration", () => {
  it("has a key for every setting, however deep", () => {
    const config = {
      lr: 0.1,
      model: { backbone: { filters: 32 }, heads: [{ name: "a" }, "b"], empty: {} },
      sizes: [1, 2],
      "a.b": null,
    };
    expect([...flatConfig(config)]).toEqual([
      ["lr", 0.1],
      ["model.backbone.filters", 32],
      ["model.heads[0].name", "a"],
      ["model.heads[1]", "b"],
      ["model.empty", {}],
      ["sizes", [1, 2]],
      ['["a.b"]', null],
    ]);
  });

  it("gives no two settings one key, and loses none", () => {
    const leaves = (value: unknown): number =>
      typeof value !== "object" || value === null || Object.keys(value).length === 0
        ? 1
        : Array.isArray(value) && value.every((one) => leaves(one) === 1 && isLeaf(one))
          ? 1
          : Object.values(value).reduce((sum: number, one) => sum + leaves(one), 0);
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }), (config) => {
        expect(flatConfig(config).size).toBe(leaves(config));
      }),
    );
  });
});

const isLeaf = (value: unknown) =>
  typeof value !== "object" || value === null || Object.keys(value).length === 0;

import { describe, expect, it } from "vitest";
import { KNOWN_MODEL_TYPES, meantModelType, partTypesOf } from "./model-types.ts";

describe("model types", () => {
  it("know topdown as centroid, then centered_instance", () => {
    expect(partTypesOf("topdown")).toEqual(["centroid", "centered_instance"]);
    expect(partTypesOf("centroid")).toBeUndefined();
    expect(partTypesOf("constructor")).toBeUndefined();
  });

  it.each([
    ["top_down", "topdown"],
    ["TopDown", "topdown"],
    ["centriod", "centroid"],
    ["centered_instances", "centered_instance"],
    ["bottom_up", "bottomup"],
    ["multiclass_topdown", "multi_class_topdown"],
    ["singleinstance", "single_instance"],
  ])("take %s for a misspelt %s", (text, meant) => {
    expect(meantModelType(text)).toBe(meant);
  });

  it.each(["unet", "model", "llm", "resnet50", "top", ...KNOWN_MODEL_TYPES])(
    "take %s as it is",
    (text) => {
      expect(meantModelType(text)).toBeUndefined();
    },
  );
});

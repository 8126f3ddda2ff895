import { describe, expect, it } from "vitest";
import type { ArtifactId } from "./ids.ts";
import { datasetTag, isAutomaticTag } from "./automatic-tags.ts";

describe("automatic tags", () => {
  it("are dataset-…, interrupted and best-of-sweep", () => {
    const dataset = datasetTag("ab12cd34".repeat(8) as ArtifactId);
    expect(dataset).toBe("dataset-ab12cd34");
    for (const tag of [dataset, "interrupted", "best-of-sweep"]) {
      expect(isAutomaticTag(tag)).toBe(true);
    }
  });

  it("leave every other tag to people, however alike", () => {
    for (const tag of ["dataset-mice", "dataset-ab12cd3", "dataset-AB12CD34", "Interrupted"]) {
      expect(isAutomaticTag(tag)).toBe(false);
    }
  });
});

import { describe, expect, it } from "vitest";
import { assign } from "../fakes.fixture.ts";
import { canonicalJson, describeModel } from "./model-description.ts";

describe("a model's description", () => {
  it("does not depend on the order of keys", () => {
    expect(canonicalJson({ b: [1, { d: null, c: "é" }], a: undefined })).toBe(
      '{"b":[1,{"c":"é","d":null}]}',
    );
    expect(canonicalJson({ y: 1, x: 2 })).toBe(canonicalJson({ x: 2, y: 1 }));
  });

  it("is the same for repetitions of a named run and differs for jobs without a name", () => {
    const spec = { command: ["train"], config: { lr: 0.1 } };
    const named = () => describeModel(assign({ ...spec, runName: "run-1" }));
    expect(named()).toBe(named());
    expect(named()).toBe(
      '{"command":["train"],"config":{"lr":0.1},"runName":"run-1","type":"model"}',
    );
    const job = assign(spec);
    expect(describeModel(job)).toContain(`"runName":"${job.job}"`);
  });
});

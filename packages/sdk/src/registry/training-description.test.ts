import * as fc from "fast-check";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { type JobId, JobSpec, type ModelType } from "../protocol/index.ts";
import { configText, describeJob, describeTraining, seedOf } from "./training-description.ts";

const job = "j_01h2xcejqtf2nbrx" as JobId;
const described = (spec: v.InferInput<typeof JobSpec>, attempt?: number) =>
  describeJob({ job, spec: v.parse(JobSpec, spec) }, attempt);

describe("a training's description", () => {
  it("is canonical JSON of what tells trainings apart", () => {
    expect(described({ command: ["train"], config: { lr: 0.1 }, runName: "run-1", seed: 7 })).toBe(
      '{"command":["train"],"config":{"lr":0.1},"runName":"run-1","seed":7,"type":"model"}',
    );
  });

  it("has the job's id where the run has no name, and the attempt when one is given", () => {
    expect(described({ command: ["train"] })).toContain(`"runName":"${job}"`);
    expect(described({ command: ["train"] })).not.toContain("attempt");
    expect(described({ command: ["train"] }, 2)).toContain('"attempt":2');
  });

  it("takes the configuration's seed when the job names none", () => {
    expect(seedOf({ config: { seed: 3 } })).toBe(3);
    expect(seedOf({ seed: 4, config: { seed: 3 } })).toBe(4);
    expect(seedOf({ config: { seed: "three" } })).toBeUndefined();
    expect(described({ command: ["x"], config: { seed: 3 } })).toContain('"seed":3,"type"');
    const seeds = [1, 2].map((seed) => described({ command: ["x"], seed }));
    expect(seeds[0]).not.toBe(seeds[1]);
  });

  it("does not depend on the order of keys, however deep", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (config) => {
        const turned = reversed(config) as Record<string, unknown>;
        expect(configText(turned)).toBe(configText(config));
        const type = "centroid" as ModelType;
        expect(describeTraining({ type, config: turned })).toBe(describeTraining({ config, type }));
      }),
    );
  });
});

/** The value with the members of every object in the other order. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).toReversed();
  // fromEntries makes own members even of "__proto__".
  return Object.fromEntries(members.map(([key, member]) => [key, reversed(member)]));
}

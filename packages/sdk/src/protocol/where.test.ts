import * as fc from "fast-check";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { conditionProblem, conditionsOf, parseCondition, unmetCondition } from "./where.ts";
import { Requirements, type WorkerCapabilities } from "./workers.ts";

const capabilities: WorkerCapabilities = {
  kind: "desktop",
  platform: "linux",
  arch: "x64",
  cpus: 8,
  memoryBytes: 32e9,
  gpus: [
    { name: "NVIDIA A100", memoryMb: 40_000 },
    { name: "NVIDIA T4", memoryMb: 16_000 },
  ],
  trainers: ["sleap"],
  commands: true,
  labels: { site: "lab", "rack.row": "3" },
  slots: 2,
  version: "0.1.0",
};
const cached = ["a".repeat(64)];
const why = (...where: string[]) => unmetCondition({ capabilities, cached }, conditionsOf(where));

describe("conditions that hold", () => {
  it.each([
    "kind == desktop",
    "kind!=ephemeral",
    "platform ~ LIN",
    "arch == x64",
    "cpus >= 8",
    "cpus<9",
    "memoryBytes >= 32GB",
    "memoryBytes >= 29GiB",
    "memoryBytes > 29 g",
    "slots == 2",
    "gpus > 1",
    "gpu.memoryMb >= 24000",
    "gpu.name ~ a100",
    'gpu.name == "NVIDIA T4"',
    "labels.site == lab",
    "labels.rack.row == 3",
    "labels.owner != ada",
    "labels has site",
    "trainers has sleap",
    `cached has ${"a".repeat(64)}`,
  ])("%s", (text) => {
    expect(conditionProblem(text)).toBeUndefined();
    expect(why(text)).toBeUndefined();
  });

  it("on a GPU are met by one and the same GPU", () => {
    expect(why("gpu.name ~ t4", "gpu.memoryMb < 20000")).toBeUndefined();
    expect(why("gpu.name ~ t4", "gpu.memoryMb >= 24000")).toBe(
      "has no GPU that meets gpu.name ~ t4 and gpu.memoryMb >= 24000 (it has NVIDIA A100 with 40000 MB, NVIDIA T4 with 16000 MB)",
    );
  });
});

describe("conditions that do not hold say what the worker has", () => {
  it.each([
    ["cpus > 8", "does not meet cpus > 8 (it has 8)"],
    ["kind == ephemeral", "does not meet kind == ephemeral (it has desktop)"],
    ["labels.owner == ada", "does not meet labels.owner == ada (it has no such label)"],
    ["trainers has keras", "does not meet trainers has keras (it has sleap)"],
    ["labels.toString == x", "does not meet labels.toString == x (it has no such label)"],
  ])("%s", (text, reason) => expect(why(text)).toBe(reason));

  it("on a GPU, by a worker without", () => {
    const none = { capabilities: { ...capabilities, gpus: [] } };
    expect(unmetCondition(none, conditionsOf(["gpu.memoryMb >= 1"]))).toBe(
      "has no GPU that meets gpu.memoryMb >= 1 (it has none)",
    );
  });
});

describe("conditions that cannot be read point at the place", () => {
  it.each([
    ["", 1, /a field is missing/],
    ["memory > 3", 1, /no field memory; there are kind, /],
    ["  constructor == x", 3, /no field constructor/],
    ["labels. == x", 1, /no field labels\./],
    ["cpus 8", 6, /cpus is compared with ==, !=, >=/],
    ["cpus ~ 8", 6, /cpus is compared with/],
    ["cpus = 8", 6, /cpus is compared with/],
    ["trainers == sleap", 10, /trainers is compared with has/],
    ["trainers hassleap", 10, /trainers is compared with has/],
    ["cpus >= ", 9, /a value is missing/],
    ["cpus >= 16GB", 9, /16GB is not a number/],
    ["kind == desktop && labels.site == lab", 17, /^one condition each; repeat --where$/],
    ["labels.site == lab||x", 19, /one condition each/],
    ["cpus >= 8 and gpus >= 1", 10, /one condition each/],
    ["kind == laptop", 9, /^kind is desktop, ephemeral, shared, never laptop$/],
    ["memoryBytes >= 16 parsecs", 16, /not a size such as 16GB/],
  ])("%j", (text, at, message) => {
    expect(parseCondition(text)).toMatchObject({ at, message: expect.stringMatching(message) });
  });

  it("when a job is submitted, with the field", () => {
    const result = v.safeParse(Requirements, { where: ["cpus >= 1", "cpus >= many"] });
    expect(result.issues?.map((issue) => [v.getDotPath(issue), issue.message])).toEqual([
      ["where.1", "cpus >= many: many is not a number (at character 9)"],
    ]);
  });
});

describe("any text", () => {
  it("is a condition or a problem within it, and never an exception", () => {
    const part = fc.constantFrom("cpus", "gpu.name", "labels.a", ">=", "==", "~", "has", " ", "8");
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(part).map((parts) => parts.join("")),
        ),
        (text) => {
          const read = parseCondition(text);
          const place = "message" in read ? read.at : 1;
          expect(place).toBeGreaterThanOrEqual(1);
          expect(place).toBeLessThanOrEqual(text.length + 1);
          // What was read is read the same again.
          const again = "message" in read ? read : parseCondition(read.text);
          expect(again).toEqual(read);
          why(text);
        },
      ),
    );
  });

  it("compares numbers as numbers", () => {
    const operators = { ">=": true, "<=": true, ">": true, "<": true, "==": true, "!=": true };
    fc.assert(
      fc.property(
        fc.nat(64),
        fc.nat(64),
        fc.constantFrom(...(Object.keys(operators) as (keyof typeof operators)[])),
        (cpus, wanted, operator) => {
          const expected = {
            ">=": cpus >= wanted,
            "<=": cpus <= wanted,
            ">": cpus > wanted,
            "<": cpus < wanted,
            "==": cpus === wanted,
            "!=": cpus !== wanted,
          }[operator];
          const worker = { capabilities: { ...capabilities, cpus } };
          const unmet = unmetCondition(worker, conditionsOf([`cpus ${operator} ${wanted}`]));
          expect(unmet === undefined).toBe(expected);
        },
      ),
    );
  });
});

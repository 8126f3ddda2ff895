import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { PeerId } from "./ids.ts";
import { Requirements, type WorkerCapabilities, broughtBy, unmetRequirement } from "./workers.ts";

const workerId = v.parse(PeerId, "p_0123456789abcdef_one");
const capabilities: WorkerCapabilities = {
  kind: "desktop",
  platform: "linux",
  arch: "x64",
  cpus: 8,
  memoryBytes: 32e9,
  gpus: [
    { name: "A", memoryMb: 24_000 },
    { name: "B", memoryMb: 8000 },
  ],
  trainers: ["sleap"],
  commands: false,
  labels: { site: "lab" },
  slots: 1,
  version: "0.1.0",
};
const unmet = (
  requirements: v.InferInput<typeof Requirements>,
  trainer: string | undefined = "sleap",
) =>
  unmetRequirement(
    { workerId, capabilities },
    { trainer, requirements: v.parse(Requirements, requirements) },
  );

describe("a job's requirements", () => {
  it("are met by a worker that has at least as much of everything", () => {
    const all = {
      kind: "desktop",
      minCpus: 8,
      minMemoryBytes: 32e9,
      minGpus: 1,
      minGpuMemoryMb: 24_000,
      labels: { site: "lab" },
      worker: workerId,
    } as const;
    expect(unmet(all)).toBeUndefined();
    expect(unmet({})).toBeUndefined();
  });

  it("name the first thing that is missing", () => {
    expect(unmet({ kind: "ephemeral" })).toContain("desktop");
    expect(unmet({ minCpus: 9 })).toContain("8 CPUs");
    expect(unmet({ minMemoryBytes: 33e9 })).toContain("memory");
    expect(unmet({ minGpus: 3 })).toContain("2 fitting GPUs");
    expect(unmet({ minGpus: 2, minGpuMemoryMb: 10_000 })).toContain("1 fitting GPUs");
    expect(unmet({ minGpuMemoryMb: 40_000 })).toContain("0 fitting GPUs");
    expect(unmet({ labels: { site: "cloud" } })).toContain("site=cloud");
    expect(unmet({ worker: "p_0123456789abcdef_two" })).toContain("not the worker");
    expect(unmet({}, "other")).toContain("no trainer named other");
  });

  it("keep code and environment away from it, too, with their name", () => {
    const wanted = { trainer: "sleap", requirements: {} };
    const of = (brings: "code" | "environment") =>
      unmetRequirement({ workerId, capabilities }, { ...wanted, brings });
    expect(of("code")).toBe("runs named trainers only, without code of the job's own");
    expect(of("environment")).toContain("without environment");
    expect(broughtBy({ env: { A: "b" } })).toBe("environment");
    expect(broughtBy({ code: "c", env: {} })).toBe("code");
    expect(broughtBy({ env: {} })).toBeUndefined();
    const any = { workerId, capabilities: { ...capabilities, commands: true } };
    expect(unmetRequirement(any, { ...wanted, brings: "code" })).toBeUndefined();
  });

  it("keep commands away from a worker that runs named trainers only", () => {
    const wanted = { requirements: {} };
    expect(unmetRequirement({ workerId, capabilities }, wanted)).toContain("named trainers only");
  });
});

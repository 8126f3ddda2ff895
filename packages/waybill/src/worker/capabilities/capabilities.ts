// What this machine offers to jobs.
import { availableParallelism, totalmem } from "node:os";
import type { WorkerCapabilities, WorkerKind } from "@waybill/sdk/protocol";
import type { GpuReader } from "../events/gpus.ts";

export type OfferedBy = {
  readonly kind: WorkerKind;
  readonly trainers: readonly string[];
  readonly commands: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly slots: number;
  readonly version: string;
  readonly gpus: GpuReader;
};

/** Looks at the machine; a container's memory limit counts as its memory. */
export async function detectCapabilities(offered: OfferedBy): Promise<WorkerCapabilities> {
  return {
    kind: offered.kind,
    platform: process.platform,
    arch: process.arch,
    cpus: Math.max(1, availableParallelism()),
    memoryBytes: memoryLimit(),
    gpus: await offered.gpus.list(),
    trainers: [...offered.trainers],
    commands: offered.commands,
    labels: { ...offered.labels },
    slots: offered.slots,
    version: offered.version,
  };
}

function memoryLimit(): number {
  const total = totalmem();
  const limit = process.constrainedMemory();
  return limit > 0 && limit < total ? limit : total;
}

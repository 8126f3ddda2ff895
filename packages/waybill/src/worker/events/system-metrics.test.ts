import { spawn } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import * as v from "valibot";
import { SystemSample } from "@waybill/sdk/protocol";
import { createGpuReader } from "./gpus.ts";
import { SystemMetrics } from "./system-metrics.ts";

const dirs: string[] = [];

afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true });
});

async function fakeSmi(script: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "waybill-smi-"));
  dirs.push(dir);
  const path = join(dir, "nvidia-smi");
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return path;
}

describe("system samples", () => {
  it("say what the machine and the trainer's group use", async () => {
    const busy = spawn(process.execPath, ["-e", "for(;;);"], { detached: true, stdio: "ignore" });
    const metrics = new SystemMetrics({
      dir: tmpdir(),
      gpus: createGpuReader("no-such-nvidia-smi"),
      intervalMs: 1000,
      onSample: () => undefined,
    });
    metrics.watchGroup(busy.pid);
    await metrics.sample();
    const startMs = performance.now();
    while (performance.now() - startMs < 300) await new Promise(setImmediate);
    const sample = v.parse(SystemSample, await metrics.sample());
    busy.kill("SIGKILL");
    expect(sample.trainerCpu).toBeGreaterThan(0);
    expect(sample.trainerRssBytes).toBeGreaterThan(10 * 1024 * 1024);
    expect(sample.memoryBytes).toBeLessThan(sample.memoryTotalBytes);
    expect(sample.diskFreeBytes).toBeGreaterThan(0);
    expect(sample.gpus).toEqual([]);
    if (process.platform !== "linux") return;
    expect(sample.diskWriteBytesPerSecond).toBeGreaterThanOrEqual(0);
    expect(sample.networkInBytesPerSecond).toBeGreaterThanOrEqual(0);
  });

  it("read GPUs from nvidia-smi, with what it does not know left out", async () => {
    const smi = await fakeSmi(`echo "NVIDIA A100, 40960, 97, 1024, 61, 250.5"
      echo "Tesla T4, 15360, [N/A], 3, [N/A], [Not Supported]"`);
    const gpus = createGpuReader(smi);
    expect(await gpus.list()).toEqual([
      { name: "NVIDIA A100", memoryMb: 40_960 },
      { name: "Tesla T4", memoryMb: 15_360 },
    ]);
    expect(await gpus.sample()).toEqual([
      {
        name: "NVIDIA A100",
        memoryMb: 40_960,
        utilisation: 0.97,
        memoryUsedMb: 1024,
        temperatureC: 61,
        powerW: 250.5,
      },
      { name: "Tesla T4", memoryMb: 15_360, utilisation: 0, memoryUsedMb: 3 },
    ]);
  });

  it("go without GPUs when nvidia-smi hangs, fails or says nonsense, and read them again later", async () => {
    const hanging = createGpuReader(await fakeSmi(`trap "" TERM\nexec sleep 60`), 100);
    expect(await hanging.sample()).toEqual([]);
    const smi = await fakeSmi("echo 'NVIDIA-SMI has failed' >&2; exit 9");
    const gpus = createGpuReader(smi);
    expect(await gpus.sample()).toEqual([]);
    await writeFile(smi, `#!/bin/sh\necho "NVIDIA L4, 23034, 5, 400, 40, [Unknown Error]"\n`);
    expect(await gpus.sample()).toEqual([
      {
        name: "NVIDIA L4",
        memoryMb: 23_034,
        utilisation: 0.05,
        memoryUsedMb: 400,
        temperatureC: 40,
      },
    ]);
  });
});

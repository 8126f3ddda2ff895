// What the machine and the trainer's process group use, every few seconds, as `system` events.
import { readFile, statfs } from "node:fs/promises";
import { cpus, freemem, totalmem } from "node:os";
import type { SystemSample } from "@waybill/sdk/protocol";
import { listGroup } from "../trainers/proc.ts";
import type { GpuReader } from "./gpus.ts";
import { type IoBytes, type IoRates, ratesBetween, readIoBytes } from "./machine-io.ts";

export type SystemMetricsInit = {
  /** Directory whose disk is watched. */
  readonly dir: string;
  readonly gpus: GpuReader;
  readonly intervalMs: number;
  readonly onSample: (sample: SystemSample) => void;
};

type CpuTimes = { readonly busyMs: number; readonly totalMs: number };

/** Samples from `start()` to `stop()`; `watchGroup` adds the trainer's share. */
export class SystemMetrics {
  readonly #init: SystemMetricsInit;
  #timer: NodeJS.Timeout | undefined;
  #sampling: Promise<void> | undefined;
  #before = cpuTimes();
  #group: number | undefined;
  #groupBefore: { cpuMs: number; atMs: number } | undefined;
  #ioBefore: { readonly bytes: Partial<IoBytes>; readonly atMs: number } | undefined;

  constructor(init: SystemMetricsInit) {
    this.#init = init;
  }

  start(): void {
    this.#before = cpuTimes();
    this.#timer = setInterval(() => this.#tick(), this.#init.intervalMs);
  }

  /** Counts the trainer's process group from now on; `undefined` when it has ended. */
  watchGroup(group: number | undefined): void {
    this.#group = group;
    this.#groupBefore = group === undefined ? undefined : { cpuMs: 0, atMs: performance.now() };
  }

  /** Begins no further sample; one that is under way may take as long as a GPU's driver takes to answer. */
  end(): void {
    clearInterval(this.#timer);
  }

  async stop(): Promise<void> {
    this.end();
    await this.#sampling;
  }

  #tick(): void {
    this.#sampling ??= this.sample()
      .then(this.#init.onSample)
      // A sample that cannot be taken is one point less in a chart.
      .catch(() => undefined)
      .finally(() => {
        this.#sampling = undefined;
      });
  }

  /** One sample: shares since the one before. */
  async sample(): Promise<SystemSample> {
    const before = this.#before;
    const now = cpuTimes();
    this.#before = now;
    const total = now.totalMs - before.totalMs;
    const [memory, trainer, disk, io, gpus] = await Promise.all([
      memoryBytes(),
      this.#trainer(),
      diskFree(this.#init.dir),
      this.#io(),
      this.#init.gpus.sample(),
    ]);
    return {
      cpu: total > 0 ? share((now.busyMs - before.busyMs) / total) : 0,
      ...memory,
      ...trainer,
      ...disk,
      ...io,
      gpus,
    };
  }

  /** Nothing in the first sample: a rate needs two readings. */
  async #io(): Promise<IoRates> {
    const bytes = await readIoBytes();
    const atMs = performance.now();
    const before = this.#ioBefore;
    this.#ioBefore = { bytes, atMs };
    return before === undefined
      ? {}
      : ratesBetween(before.bytes, bytes, (atMs - before.atMs) / 1000);
  }

  async #trainer(): Promise<{ trainerCpu?: number; trainerRssBytes?: number }> {
    const group = this.#group;
    const before = this.#groupBefore;
    if (group === undefined || before === undefined) return {};
    const living = (await listGroup(group)).filter(({ zombie }) => !zombie);
    if (living.length === 0 || this.#group !== group) return {};
    const cpuMs = living.reduce((sum, one) => sum + one.cpuMs, 0);
    const atMs = performance.now();
    this.#groupBefore = { cpuMs, atMs };
    const capacityMs = (atMs - before.atMs) * Math.max(1, cpus().length);
    return {
      // Helpers that ended took their time with them: never below 0.
      trainerCpu: capacityMs > 0 ? share((cpuMs - before.cpuMs) / capacityMs) : 0,
      trainerRssBytes: living.reduce((sum, one) => sum + one.rssBytes, 0),
    };
  }
}

function cpuTimes(): CpuTimes {
  let busyMs = 0;
  let totalMs = 0;
  for (const { times } of cpus()) {
    const busy = times.user + times.nice + times.sys + times.irq;
    busyMs += busy;
    totalMs += busy + times.idle;
  }
  return { busyMs, totalMs };
}

/** Memory in use is what is not available: caches the kernel would give back are free (proc(5), MemAvailable). */
async function memoryBytes(): Promise<{ memoryBytes: number; memoryTotalBytes: number }> {
  const memoryTotalBytes = totalmem();
  const text = process.platform === "linux" ? await readFile("/proc/meminfo", "latin1") : "";
  const kib = /^MemAvailable:\s+(\d+) kB/m.exec(text)?.[1];
  const available = kib === undefined ? freemem() : Number(kib) * 1024;
  return { memoryBytes: Math.max(0, memoryTotalBytes - available), memoryTotalBytes };
}

async function diskFree(dir: string): Promise<{ diskFreeBytes?: number }> {
  try {
    const { bavail, bsize } = await statfs(dir);
    return { diskFreeBytes: bavail * bsize };
  } catch {
    return {};
  }
}

/** 0–1 with four digits: more is noise and bytes. */
function share(value: number): number {
  return Math.round(Math.min(1, Math.max(0, value)) * 10_000) / 10_000;
}

// Loaded into the hub's process (`node --import`): answers over the IPC channel what the process used so far. The hub's
// own code knows nothing of it.
import { monitorEventLoopDelay } from "node:perf_hooks";

export type ProcessFigures = {
  readonly rssBytes: number;
  readonly peakRssBytes: number;
  readonly heapUsedBytes: number;
  /** User and system time of the whole process, its store's thread included. */
  readonly cpuSeconds: number;
  /** Of the time since the last question; the sampling's own 1 ms is taken off. */
  readonly loopDelayMs: { readonly p50: number; readonly p99: number; readonly max: number };
};

const RESOLUTION_MS = 1;
const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delays.enable();

process.on("message", () => {
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const ms = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const figures: ProcessFigures = {
    rssBytes: rss,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
    heapUsedBytes: heapUsed,
    cpuSeconds: (user + system) / 1e6,
    loopDelayMs: {
      p50: ms(delays.percentile(50)),
      p99: ms(delays.percentile(99)),
      max: ms(delays.max),
    },
  };
  delays.reset();
  process.send?.(figures);
});
process.channel?.unref();

// What a process that is still running has used, as the kernel counts it.
import { readFile } from "node:fs/promises";

export type Used = { readonly cpuSeconds: number; readonly peakRssBytes: number };

/** `USER_HZ`: ticks of /proc are of this length on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

export async function usedBy(pid: number): Promise<Used> {
  const [stat, status] = await Promise.all([
    readFile(`/proc/${pid}/stat`, "utf8"),
    readFile(`/proc/${pid}/status`, "utf8"),
  ]);
  // proc(5): fields after the name, which may hold anything; utime and stime are the 14th and 15th of all.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const peakKib = Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1]);
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    peakRssBytes: peakKib * 1024,
  };
}

// Peak memory of a process as Linux accounts it.
import { readFile } from "node:fs/promises";

/** Highest resident set so far, in bytes; 0 when the process is gone or this is not Linux. */
export async function peakRssBytes(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid ?? 0}/status`, "utf8").catch(() => "");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

// What the operating system says of a process.
import { spawnSync } from "node:child_process";
import { readdir, readlink } from "node:fs/promises";

/** Whether a process runs; one that is dead and not yet collected by whoever inherited it does not. */
export function runs(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-o", "state=", "-p", String(pid)], { encoding: "utf8" });
  return stdout.trim() !== "" && !stdout.trim().startsWith("Z");
}

/** SIGKILLs what works below a folder: it dies with the machine that the folder stands for. */
export async function killBelow(folder: string): Promise<void> {
  for (const name of await readdir("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => "");
    if (!cwd.startsWith(`${folder}/`)) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

// What the operating system says of a process.
import { spawnSync } from "node:child_process";

/** Whether a process runs; one that is dead and not yet collected by whoever inherited it does not. */
export function runs(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-o", "state=", "-p", String(pid)], { encoding: "utf8" });
  return stdout.trim() !== "" && !stdout.trim().startsWith("Z");
}

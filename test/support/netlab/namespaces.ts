// Network namespaces named for the process that owns them, so that what a killed process left behind is
// found and removed by the next one.
import { existsSync } from "node:fs";
import { run } from "./commands.ts";

const OWNED = /^wb(\d+)n\d+-/;
let opened = 0;

/** A prefix for the namespaces of one lab. */
export function namePrefix(): string {
  opened += 1;
  return `wb${process.pid}n${opened}-`;
}

export function namespaceFile(namespace: string): string {
  return `/run/netns/${namespace}`;
}

export async function addNamespace(namespace: string): Promise<void> {
  await run("ip", "netns", "add", namespace);
  await run("ip", "-n", namespace, "link", "set", "lo", "up");
}

/** Ends every process inside and removes the namespace. */
export async function removeNamespace(namespace: string): Promise<void> {
  const pids = await run("ip", "netns", "pids", namespace).catch(() => "");
  for (const pid of pids.split(/\s+/).filter(Boolean).map(Number)) {
    if (pid === process.pid) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself meanwhile.
    }
  }
  await run("ip", "netns", "del", namespace).catch(() => undefined);
}

/** Removes namespaces whose owners are gone. */
export async function sweepNamespaces(): Promise<void> {
  for (const line of (await run("ip", "netns", "list")).split("\n")) {
    const [name = ""] = line.split(" ");
    const owner = OWNED.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) await removeNamespace(name);
  }
}

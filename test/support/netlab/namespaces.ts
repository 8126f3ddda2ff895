// Network namespaces named for the process that owns them, so that what a killed process left behind is
// found and removed by the next one.
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
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

const FOLDER = /^waybill-netlab-(\d+)-/;

/** A folder for one lab's files. */
export function makeFolder(): Promise<string> {
  return mkdtemp(path.join(os.tmpdir(), `waybill-netlab-${process.pid}-`));
}

/** Removes namespaces and folders whose owners are gone. */
export async function sweep(): Promise<void> {
  for (const name of await readdir(os.tmpdir())) {
    const owner = FOLDER.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`))
      await rm(path.join(os.tmpdir(), name), { recursive: true, force: true });
  }
  for (const line of (await run("ip", "netns", "list")).split("\n")) {
    const [name = ""] = line.split(" ");
    const owner = OWNED.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) await removeNamespace(name);
  }
}

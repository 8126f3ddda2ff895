// Processes as the operating system knows them: /proc on Linux, `ps` elsewhere (coarser, slower).
// A process is known by its id *and* its start, since ids are used again.
import { execFile } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { promisify } from "node:util";

export type ProcessInfo = {
  readonly pid: number;
  readonly group: number;
  /** Stopped by a signal. */
  readonly stopped: boolean;
  /** Inside the kernel and not to be interrupted: it stops or dies before it runs its own code again. */
  readonly blocked: boolean;
  /** Dead and not yet waited for by its parent. */
  readonly zombie: boolean;
  /** CPU time used so far, user and system. */
  readonly cpuMs: number;
  readonly rssBytes: number;
};

const run = promisify(execFile);
const linux = process.platform === "linux";
/** USER_HZ is 100 on every Linux port Node runs on. */
const MS_PER_TICK = 10;
const PAGE_BYTES = 4096;
/** Reading /proc is synchronous (a file costs ~10 µs); this many at a time do not hold up the loop. */
const READS_PER_TURN = 100;

/** Identifies one life of a process id: boot and start time. `undefined` when no such process runs. */
export async function processStartId(pid: number): Promise<string | undefined> {
  if (!linux) return psStart(pid);
  const fields = statFields(pid);
  if (fields === undefined || fields[0] === "Z") return undefined;
  // proc(5): starttime is field 22; `fields` starts at field 3.
  return `${bootId()}:${fields[19] ?? ""}`;
}

/** Whether a start id may belong to a process that still runs: ids of an earlier boot cannot. */
export function sameBoot(startId: string): boolean {
  return !linux || startId.startsWith(`${bootId()}:`);
}

/** A process that was given this argument, such as the path of a file that nobody else has. */
export async function findByArgument(argument: string): Promise<number | undefined> {
  if (!linux) return psByArgument(argument);
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (Number.isInteger(pid) && commandLine(pid).includes(argument)) return pid;
  }
  return undefined;
}

function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

async function psByArgument(argument: string): Promise<number | undefined> {
  try {
    const { stdout } = await run("ps", ["-axo", "pid=,args="]);
    const line = stdout.split("\n").find((one) => one.includes(argument));
    return line === undefined ? undefined : Number.parseInt(line, 10);
  } catch {
    return undefined;
  }
}

/** Every process of a group, zombies included. */
export async function listGroup(group: number): Promise<ProcessInfo[]> {
  if (!linux) return psGroup(group);
  const found: ProcessInfo[] = [];
  let reads = 0;
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    if (++reads % READS_PER_TURN === 0) await nextTurn();
    const info = infoOf(pid, group);
    if (info !== undefined) found.push(info);
  }
  return found;
}

function infoOf(pid: number, group: number): ProcessInfo | undefined {
  const fields = statFields(pid);
  if (fields === undefined || Number(fields[2]) !== group) return undefined;
  const state = fields[0];
  return {
    pid,
    group,
    stopped: state === "T" || state === "t",
    blocked: state === "D",
    zombie: state === "Z" || state === "X",
    cpuMs: (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK,
    rssBytes: Number(fields[21]) * PAGE_BYTES,
  };
}

/** Fields of /proc/pid/stat from the third (state) on; the second may hold spaces and parentheses. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

let boot: string | undefined;

function bootId(): string {
  boot ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  return boot;
}

async function psStart(pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await run("ps", ["-o", "lstart=", "-p", String(pid)]);
    const text = stdout.trim();
    return text === "" ? undefined : text;
  } catch {
    return undefined;
  }
}

async function psGroup(group: number): Promise<ProcessInfo[]> {
  try {
    const { stdout } = await run("ps", ["-axo", "pid=,pgid=,state=,rss=,time="]);
    return stdout.split("\n").flatMap((line) => {
      const [pid, pgid, state = "", rss, time = ""] = line.trim().split(/\s+/);
      if (Number(pgid) !== group) return [];
      return [
        {
          pid: Number(pid),
          group,
          stopped: state.startsWith("T"),
          blocked: state.startsWith("U") || state.startsWith("D"),
          zombie: state.startsWith("Z"),
          cpuMs: clockMs(time),
          rssBytes: Number(rss) * 1024,
        },
      ];
    });
  } catch {
    return [];
  }
}

/** `[hh:]mm:ss[.cc]` as milliseconds. */
function clockMs(text: string): number {
  return text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0) * 1000;
}

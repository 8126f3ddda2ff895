// A trainer as a group of processes of its own: started with its output going to files, stopped, continued
// and ended as one, and found again by a later daemon. What is claimed of it is read back from the operating system
// first.
import { type ChildProcess, spawn } from "node:child_process";
import { type FSWatcher, watch } from "node:fs";
import { open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { delay } from "@waybill/sdk/timing";
import { WaybillError } from "@waybill/sdk/protocol";
import { hasCode } from "../data-dir/files.ts";
import {
  SHELL,
  type TrainerExit,
  checkProgram,
  exitOf,
  launcherArguments,
  makePipe,
  readStatus,
} from "./launcher.ts";
import { type ProcessInfo, listGroup, processStartId, sameBoot } from "./proc.ts";

export type TrainerInit = {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Files its output is appended to. */
  readonly stdout: string;
  readonly stderr: string;
  /** Where its exit status will be written. */
  readonly status: string;
  /** Path for the pipe that becomes its standard input; without one that is empty. */
  readonly input: string | undefined;
  /** How long `pause` and `resume` wait to see their effect. */
  readonly verifyMs: number;
};

/** A trainer another daemon started. */
export type AttachInit = Pick<TrainerInit, "status" | "verifyMs"> & {
  readonly pid: number;
  readonly startId: string;
  /** Between looks at it where the file system does not notify. */
  readonly pollMs: number;
};

export type TrainerProcess = {
  /** Process group, and the id of its first process, which waits for the trainer. */
  readonly pid: number;
  /** Tells this life of the process id from later ones. */
  readonly startId: string;
  /** The trainer has ended; whatever it left behind in its group has been killed. */
  readonly exited: Promise<TrainerExit>;
  /** Resolves once every process of the group is seen stopped; throws `timeout`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Whether every process of the group is stopped now. */
  isPaused(): Promise<boolean>;
  /** SIGTERM, and SIGKILL after `graceMs`. A shorter grace later on wins. */
  terminate(graceMs: number): void;
  /** SIGKILL after `graceMs` for a trainer that has had its SIGTERM. */
  killAfter(graceMs: number): void;
  /** SIGKILL; resolves when every process of the group is gone. */
  kill(): Promise<void>;
};

/** Starts a trainer; throws `trainer_failed` when the program cannot be run. */
export async function startTrainer(init: TrainerInit): Promise<TrainerProcess> {
  const [program = ""] = init.command;
  await checkProgram(program, init.cwd, init.env["PATH"]);
  await rm(init.status, { force: true });
  if (init.input !== undefined) {
    await rm(init.input, { force: true });
    await makePipe(init.input);
  }
  const stdout = await open(init.stdout, "a", 0o600);
  const stderr = await open(init.stderr, "a", 0o600);
  let child: ChildProcess;
  try {
    child = spawn(SHELL, launcherArguments(init.status, init.input ?? "/dev/null", init.command), {
      cwd: init.cwd,
      env: init.env,
      // Its own session and group; `kill(-pid)` reaches everything it starts.
      detached: true,
      stdio: ["ignore", "ignore", "ignore", stdout.fd, stderr.fd],
    });
    await spawned(child);
  } finally {
    await stdout.close();
    await stderr.close();
  }
  const pid = child.pid;
  if (pid === undefined) throw new WaybillError("trainer_failed", `${SHELL} has no process id`);
  const exit = childExit(child);
  return new Trainer(pid, (await processStartId(pid)) ?? "", exit, init.verifyMs);
}

/** Takes over a trainer that runs, or has run, under a daemon that died. */
export function attachTrainer(init: AttachInit): TrainerProcess {
  return new Trainer(init.pid, init.startId, followExit(init), init.verifyMs);
}

class Trainer implements TrainerProcess {
  readonly pid: number;
  readonly startId: string;
  readonly exited: Promise<TrainerExit>;
  readonly #verifyMs: number;
  #killer: NodeJS.Timeout | undefined;
  #killAtMs = Number.POSITIVE_INFINITY;

  constructor(pid: number, startId: string, exit: Promise<TrainerExit>, verifyMs: number) {
    this.pid = pid;
    this.startId = startId;
    this.#verifyMs = verifyMs;
    this.exited = exit.then((result) => {
      clearTimeout(this.#killer);
      // Helpers it left behind must neither write on nor hold the GPU.
      signalGroup(pid, "SIGKILL");
      return result;
    });
  }

  async pause(): Promise<void> {
    // A parent inside vfork waits uninterruptibly for a child that is stopped: as good as stopped itself.
    await this.#until("SIGSTOP", "stopped", ({ stopped, blocked }) => stopped || blocked);
  }

  async resume(): Promise<void> {
    await this.#until("SIGCONT", "running again", ({ stopped }) => !stopped);
  }

  async isPaused(): Promise<boolean> {
    const living = (await listGroup(this.pid)).filter(({ zombie }) => !zombie);
    return living.length > 0 && living.every(({ stopped, blocked }) => stopped || blocked);
  }

  terminate(graceMs: number): void {
    // A stopped process acts on SIGTERM only when it runs again.
    signalGroup(this.pid, "SIGTERM");
    signalGroup(this.pid, "SIGCONT");
    this.killAfter(graceMs);
  }

  killAfter(graceMs: number): void {
    const killAtMs = performance.now() + graceMs;
    if (killAtMs >= this.#killAtMs) return;
    this.#killAtMs = killAtMs;
    clearTimeout(this.#killer);
    this.#killer = setTimeout(() => signalGroup(this.pid, "SIGKILL"), graceMs);
  }

  async kill(): Promise<void> {
    clearTimeout(this.#killer);
    const started = await processStartId(this.pid);
    // Its id may have been given away; without a start that is known it has only just begun.
    if (this.startId !== "" && started !== undefined && started !== this.startId) return;
    await endGroup(this.pid);
  }

  async #until(
    signal: NodeJS.Signals,
    what: string,
    holds: (one: ProcessInfo) => boolean,
  ): Promise<void> {
    const endMs = performance.now() + this.#verifyMs;
    for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
      if (!signalGroup(this.pid, signal)) {
        throw new WaybillError("conflict", "the trainer has ended");
      }
      const living = (await listGroup(this.pid)).filter(({ zombie }) => !zombie);
      if (living.length > 0 && living.every((one) => holds(one))) return;
      if (performance.now() > endMs) {
        throw new WaybillError(
          "timeout",
          `the trainer was not ${what} within ${this.#verifyMs} ms`,
        );
      }
      await delay(waitMs);
    }
  }
}

/** Kills what a dead daemon's trainer has left, if it is still that trainer. Resolves when it is gone. */
export async function killOrphan(pid: number, startId: string): Promise<boolean> {
  if (!sameBoot(startId)) return false;
  const started = await processStartId(pid);
  // The leader may be gone while its children live; then its id cannot have been given away as long as
  // the group exists, so living members without a leader are still the trainer's.
  if (started !== undefined && started !== startId) return false;
  const found = (await listGroup(pid)).some(({ zombie }) => !zombie);
  if (!found) return false;
  await endGroup(pid);
  return true;
}

async function endGroup(pid: number): Promise<void> {
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    // Again and again: what forks while it is signalled leaves a child that was not.
    signalGroup(pid, "SIGKILL");
    if ((await listGroup(pid)).every(({ zombie }) => zombie)) return;
    await delay(waitMs);
  }
}

/** Whether the group still exists. */
function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch (error) {
    if (hasCode(error, "ESRCH") || hasCode(error, "EPERM")) return false;
    throw error;
  }
}

/** Whether this life of the process still runs. */
export async function isRunning(pid: number, startId: string): Promise<boolean> {
  return sameBoot(startId) && (await processStartId(pid)) === startId;
}

async function spawned(child: ChildProcess): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
  } catch (cause) {
    throw new WaybillError("trainer_failed", "the trainer could not be started", { cause });
  }
}

/** The launcher ends as its program did; a signal that cannot be trapped took both. */
function childExit(child: ChildProcess): Promise<TrainerExit> {
  const resultOf = (code: number | null, signal: NodeJS.Signals | null) =>
    code === null ? { code, signal } : exitOf(code);
  const { exitCode, signalCode } = child;
  if (exitCode !== null || signalCode !== null) {
    return Promise.resolve(resultOf(exitCode, signalCode));
  }
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve(resultOf(code, signal)));
  });
}

/** Waits for a process that is nobody's child here: for its status, or for its end without one. */
async function followExit(init: AttachInit): Promise<TrainerExit> {
  let wake: () => void = () => undefined;
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(dirname(init.status), { persistent: false }, () => wake());
    watcher.on("error", () => watcher?.close());
  } catch {
    // A file system that does not notify: the looks in between do.
  }
  try {
    for (;;) {
      const changed = new Promise<void>((resolve) => {
        wake = resolve;
      });
      // In this order: a launcher writes before it ends.
      const runs = await isRunning(init.pid, init.startId);
      const exit = await readStatus(init.status);
      if (exit !== undefined) return exit;
      if (!runs) return { code: null, signal: "SIGKILL" };
      const late = new AbortController();
      await Promise.race([changed, delay(init.pollMs, late.signal).catch(() => undefined)]);
      late.abort();
    }
  } finally {
    watcher?.close();
  }
}

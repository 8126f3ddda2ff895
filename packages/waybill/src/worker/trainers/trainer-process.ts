// A trainer as a group of processes of its own: started with its output going to files, stopped, continued
// and ended as one. What is claimed of it is read back from the operating system first.
import { type ChildProcess, spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { delay } from "@waybill/sdk/timing";
import { WaybillError } from "@waybill/sdk/protocol";
import { hasCode } from "../data-dir/files.ts";
import { type ProcessInfo, listGroup, processStartId, sameBoot } from "./proc.ts";

export type TrainerInit = {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Files its output is appended to. */
  readonly stdout: string;
  readonly stderr: string;
  /** How long `pause` and `resume` wait to see their effect. */
  readonly verifyMs: number;
};

export type TrainerExit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

export type TrainerProcess = {
  /** Process id and process group. */
  readonly pid: number;
  /** Tells this life of the process id from later ones. */
  readonly startId: string;
  /** The first process has ended; whatever it left behind in its group has been killed. */
  readonly exited: Promise<TrainerExit>;
  /** Resolves once every process of the group is seen stopped; throws `timeout`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** SIGTERM, and SIGKILL after `graceMs`. A shorter grace later on wins. */
  terminate(graceMs: number): void;
};

/** Starts a trainer; throws `trainer_failed` when the program cannot be run. */
export async function startTrainer(init: TrainerInit): Promise<TrainerProcess> {
  const stdout = await open(init.stdout, "a", 0o600);
  const stderr = await open(init.stderr, "a", 0o600);
  const [program = "", ...args] = init.command;
  let child: ChildProcess;
  try {
    child = spawn(program, args, {
      cwd: init.cwd,
      env: init.env,
      // Its own session and group; `kill(-pid)` reaches everything it starts.
      detached: true,
      stdio: ["ignore", stdout.fd, stderr.fd],
    });
    await spawned(child, program);
  } finally {
    await stdout.close();
    await stderr.close();
  }
  const pid = child.pid;
  if (pid === undefined) throw new WaybillError("trainer_failed", `${program} has no process id`);
  return new Trainer(pid, (await processStartId(pid)) ?? "", child, init.verifyMs);
}

class Trainer implements TrainerProcess {
  readonly pid: number;
  readonly startId: string;
  readonly exited: Promise<TrainerExit>;
  readonly #verifyMs: number;
  #killer: NodeJS.Timeout | undefined;
  #killAtMs = Number.POSITIVE_INFINITY;

  constructor(pid: number, startId: string, child: ChildProcess, verifyMs: number) {
    this.pid = pid;
    this.startId = startId;
    this.#verifyMs = verifyMs;
    const { exitCode, signalCode } = child;
    const exit =
      exitCode === null && signalCode === null
        ? new Promise<TrainerExit>((resolve) => {
            child.once("exit", (code, signal) => resolve({ code, signal }));
          })
        : Promise.resolve({ code: exitCode, signal: signalCode });
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

  terminate(graceMs: number): void {
    // A stopped process acts on SIGTERM only when it runs again.
    signalGroup(this.pid, "SIGTERM");
    signalGroup(this.pid, "SIGCONT");
    const killAtMs = performance.now() + graceMs;
    if (killAtMs >= this.#killAtMs) return;
    this.#killAtMs = killAtMs;
    clearTimeout(this.#killer);
    this.#killer = setTimeout(() => signalGroup(this.pid, "SIGKILL"), graceMs);
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
  signalGroup(pid, "SIGCONT");
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 100)) {
    signalGroup(pid, "SIGKILL");
    if ((await listGroup(pid)).every(({ zombie }) => zombie)) return true;
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

async function spawned(child: ChildProcess, program: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
  } catch (cause) {
    const why = hasCode(cause, "ENOENT")
      ? "is not on this worker, or is not in PATH"
      : hasCode(cause, "EACCES")
        ? "may not be executed"
        : "could not be started";
    throw new WaybillError("trainer_failed", `the trainer's program ${program} ${why}`, { cause });
  }
}

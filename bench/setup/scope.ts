// One benchmark's life: a folder, the processes it started, emulated networks. All of it is gone when the
// benchmark ends, fails, or is interrupted.
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";

/** Processes that are timed or serve; each leads a group of its own, so that its children end with it. */
const running = new Set<ChildProcess>();

/** Folders of scopes that are open. */
const folders = new Set<string>();

// A crash runs no clean-up of its own.
process.on("exit", () => {
  for (const child of running) signalGroup(child, "SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

let interrupted = false;

/** Starts a process that cannot outlive the benchmark. */
export function start(
  argv: readonly string[],
  options: SpawnOptions & { env?: NodeJS.ProcessEnv } = {},
): ChildProcess {
  if (interrupted) throw new Error("interrupted");
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { ...options, detached: true });
  running.add(child);
  const forget = () => running.delete(child);
  child.once("exit", forget);
  child.once("error", forget);
  return child;
}

/** Signals a process and its children. */
export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It ended by itself meanwhile.
  }
}

/** Ends a process: SIGTERM, and SIGKILL after five seconds. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  signalGroup(child, "SIGTERM");
  const force = setTimeout(() => signalGroup(child, "SIGKILL"), 5000);
  await ended;
  clearTimeout(force);
}

export type Scope = {
  /** A folder of its own; `WAYBILL_BENCH_DIR` says on which disk. */
  readonly folder: string;
  readonly path: (...parts: string[]) => string;
  /** Disposed before the folder, last first. */
  readonly use: <T extends AsyncDisposable>(resource: T) => T;
  readonly defer: (cleanUp: () => Promise<void>) => void;
};

/** Runs a benchmark; cleans up after it whatever happens. */
export async function inScope(work: (scope: Scope) => Promise<void>): Promise<void> {
  if (interrupted) throw new Error("interrupted");
  const stack = new AsyncDisposableStack();
  const folder = await mkdtemp(
    path.join(process.env["WAYBILL_BENCH_DIR"] ?? os.tmpdir(), "waybill-bench-"),
  );
  folders.add(folder);
  stack.defer(async () => {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    folders.delete(folder);
  });
  stack.defer(async () => {
    await Promise.all([...running].map(stop));
  });
  let ending: Promise<void> | undefined;
  const end = () => (ending ??= stack.disposeAsync());
  const onSignal = (signal: NodeJS.Signals) => {
    interrupted = true;
    console.error(`${signal}: cleaning up`);
    void end().finally(() => process.exit(130));
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    await work({
      folder,
      path: (...parts) => path.join(folder, ...parts),
      use: (resource) => stack.use(resource),
      defer: (cleanUp) => stack.defer(cleanUp),
    });
  } finally {
    await end();
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

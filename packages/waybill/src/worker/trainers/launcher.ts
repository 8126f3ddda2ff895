// Who starts a trainer: a few lines of `/bin/sh` that outlive the daemon, wait for the program and write its exit
// status where a restarted daemon finds it. The program is the shell's child, in the same process group.
import { execFile } from "node:child_process";
import { access, constants, stat } from "node:fs/promises";
import { constants as os } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import { WaybillError } from "@waybill/sdk/protocol";
import { hasCode, readIfThere } from "../data-dir/files.ts";

export type TrainerExit = { readonly code: number | null; readonly signal: string | null };

export const SHELL = "/bin/sh";

/**
 * `$0`: file for the exit status; `$1`: the program's standard input; then the program and its arguments. Files 3 and 4
 * are its outputs. No variable is used but `code`, after the program has ended: the environment is the program's.
 *
 * A trap that does nothing keeps the shell alive through signals meant for the program, which gets them undisturbed:
 * what is trapped, rather than ignored, is reset for a child. The program runs in the foreground, since a shell lets its
 * background jobs ignore SIGINT. The input is opened for reading and writing, so that it never ends while the program
 * runs, whoever writes to it comes and goes. A status counts with its line feed.
 */
const SCRIPT = `trap : HUP INT QUIT TERM USR1 USR2 ALRM
exec 5<>"$1"
(shift; exec "$@" 3>&- 4>&- 5>&-) <"$1" >&3 2>&4
code=$?
echo $code >"$0"
exit $code`;

/** Arguments for the shell. */
export function launcherArguments(
  status: string,
  input: string,
  command: readonly string[],
): string[] {
  return ["-c", SCRIPT, status, input, ...command];
}

/** A shell reports death by signal n as 128 + n; a program that exits with such a code looks the same. */
export function exitOf(code: number): TrainerExit {
  const signal = Object.entries(os.signals).find(([, number]) => number === code - 128)?.[0];
  return signal === undefined ? { code, signal: null } : { code: null, signal };
}

/** The status a launcher has written; `undefined` when it has not, or was killed with its program. */
export async function readStatus(path: string): Promise<TrainerExit | undefined> {
  const text = await readIfThere(path);
  const code = /^(\d{1,3})\n$/.exec(text ?? "")?.[1];
  return code === undefined ? undefined : exitOf(Number(code));
}

const run = promisify(execFile);

/** Makes a named pipe for its owner. */
export async function makePipe(path: string): Promise<void> {
  try {
    await run("mkfifo", ["-m", "600", path]);
  } catch (cause) {
    throw new WaybillError("trainer_failed", `a pipe for the trainer cannot be made`, { cause });
  }
}

/** Throws `trainer_failed` when the program cannot be run: the launcher could say so in its output only. */
export async function checkProgram(
  program: string,
  cwd: string,
  path: string | undefined,
): Promise<void> {
  const isPath = program.includes("/");
  const places = isPath
    ? [resolve(cwd, program)]
    : (path ?? "/usr/bin:/bin").split(delimiter).map((dir) => join(resolve(cwd, dir), program));
  let why = "is not on this worker, or is not in PATH";
  for (const place of places) {
    try {
      if ((await stat(place)).isDirectory()) continue;
      await access(place, constants.X_OK);
      return;
    } catch (error) {
      if (hasCode(error, "EACCES")) why = "may not be executed";
    }
  }
  throw new WaybillError("trainer_failed", `the trainer's program ${program} ${why}`);
}

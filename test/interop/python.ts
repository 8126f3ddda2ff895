// Python with packages of PyPI in a virtual environment of its own, for tests against tools written in it.
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const INSTALL_MS = 100_000;

export type Python = AsyncDisposable & {
  readonly program: string;
  /** Runs a script; what it printed. */
  run(script: string, ...args: string[]): Promise<string>;
};

/** An environment with these packages; undefined where it cannot be had, which is said in one line. */
export async function openPython(packages: readonly string[]): Promise<Python | undefined> {
  const dir = await mkdtemp(path.join(os.tmpdir(), "waybill-python-"));
  const program = path.join(dir, "bin", "python3");
  const remove = () => rm(dir, { recursive: true, force: true });
  try {
    await run("python3", ["-m", "venv", dir], { timeout: INSTALL_MS });
    const install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", ...packages];
    await run(program, install, { timeout: INSTALL_MS });
  } catch {
    await remove();
    console.log(`skipped: needs python3 with venv and ${packages.join(", ")} from PyPI`);
    return undefined;
  }
  return {
    program,
    run: async (script, ...args) => (await run(program, ["-c", script, ...args])).stdout,
    [Symbol.asyncDispose]: remove,
  };
}

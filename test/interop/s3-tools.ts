// What the S3 interop tests share: a store in this process, and command-line tools run against it
// with nothing of the developer's own configuration.
import { execFile } from "node:child_process";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { createStore, type Store } from "../../packages/waybill/src/store/index.ts";

const run = promisify(execFile);

export const credential = {
  accessKeyId: "AKIAINTEROP",
  secretAccessKey: "only for these tests",
} as const;
export const region = "us-east-1";

export interface InteropStore extends AsyncDisposable {
  readonly store: Store;
  readonly endpoint: string;
  /** A directory for the test's own files. */
  readonly directory: string;
}

/** Starts a store with an own temporary directory. */
export async function startInteropStore(): Promise<InteropStore> {
  const directory = await mkdtemp(join(tmpdir(), "waybill-interop-"));
  const store = createStore({
    dataDir: join(directory, "store"),
    host: "127.0.0.1",
    port: 0,
    region,
    credentials: [credential],
  });
  const { endpoint } = await store.start();
  return {
    store,
    endpoint,
    directory,
    async [Symbol.asyncDispose]() {
      await store.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Every different program of this name on the PATH, in its order. */
export async function findPrograms(name: string): Promise<string[]> {
  const found = new Map<string, string>();
  for (const folder of new Set((process.env["PATH"] ?? "").split(delimiter))) {
    const path = join(folder, name);
    const real = await realpath(path).catch(() => undefined);
    if (real !== undefined && !found.has(real)) found.set(real, path);
  }
  return [...found.values()];
}

/** Says in one line why tests are skipped; vitest counts them as such. */
export function explainMissing(program: string, debianPackage: string): void {
  console.warn(`skipped: ${program} is not installed (apt-get install ${debianPackage})`);
}

/** Runs a tool with `env` and almost nothing else; resolves with what it printed. */
export async function runTool(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const { stdout } = await run(program, args, {
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: "/nonexistent",
      LANG: "C.UTF-8",
      ...(process.env["PYENV_ROOT"] === undefined ? {} : { PYENV_ROOT: process.env["PYENV_ROOT"] }),
      ...env,
    },
    maxBuffer: 16 * 1024 * 1024,
  });
  return stdout;
}

// A worker's directory: who it is, what it caches, and the spool of every job it has not finished.
//
//   instance          tells workers of one key apart; makes the worker's id stable
//   worker.lock       one daemon at a time
//   cache/            pulled artifacts, unless they are kept elsewhere (kind `ephemeral`: session-…/, removed at the end)
//   spool/{job}-{n}/  run.json, events.jsonl, the trainer's output and model
import { chmod, mkdir, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type WorkerKind, cryptoRandom, randomText } from "@waybill/sdk/protocol";
import { readIfThere, replaceFile } from "./files.ts";
import { acquireLock } from "./lock.ts";

export type DataDir = {
  readonly path: string;
  /** 10 characters of `[a-z0-9]`. */
  readonly instance: string;
  readonly cacheDir: string;
  readonly spoolDir: string;
  /** Gives the directory free; removes an ephemeral session's files. */
  close(): Promise<void>;
};

/**
 * Opens or makes a worker's directory; throws `conflict` while another daemon has it. The cache may lie elsewhere, as on a
 * volume that workers share; an ephemeral worker has a folder of its own there.
 */
export async function openDataDir(
  path: string,
  kind: WorkerKind,
  cachePath?: string,
): Promise<DataDir> {
  const root = resolve(path);
  await mkdir(root, { recursive: true, mode: 0o700 });
  const lock = await acquireLock(join(root, "worker.lock"));
  try {
    await removeOldSessions(root);
    const instance = await readInstance(join(root, "instance"));
    const session =
      cachePath === undefined
        ? join(root, `session-${process.pid}`)
        : join(resolve(cachePath), `session-${instance}`);
    // One in a cache elsewhere is known by the worker, and is left from a daemon that was killed.
    if (cachePath !== undefined && kind === "ephemeral") await removeTree(session);
    const whole = cachePath === undefined ? join(root, "cache") : resolve(cachePath);
    const cacheDir = kind === "ephemeral" ? join(session, "cache") : whole;
    const spoolDir = join(root, "spool");
    await mkdir(cacheDir, { recursive: true, mode: 0o700 });
    await mkdir(spoolDir, { recursive: true, mode: 0o700 });
    return {
      path: root,
      instance,
      cacheDir,
      spoolDir,
      close: async () => {
        if (kind === "ephemeral") await removeTree(session);
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function readInstance(path: string): Promise<string> {
  const stored = (await readIfThere(path))?.trim();
  if (stored !== undefined && /^[a-z0-9]{1,12}$/.test(stored)) return stored;
  const instance = randomText(10, cryptoRandom);
  await replaceFile(path, `${instance}\n`, true);
  return instance;
}

/** Sessions of daemons that were killed; the lock proves that none of them lives. */
async function removeOldSessions(root: string): Promise<void> {
  for (const name of await readdir(root)) {
    if (name.startsWith("session-") || name.startsWith(".lock-"))
      await removeTree(join(root, name));
  }
}

/** Removes a tree, read-only directories in it included. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    await makeWritable(path);
    await rm(path, { recursive: true, force: true });
  }
}

/** Makes every directory of a tree writable for its owner again (files are replaced, not written). */
export async function makeWritable(path: string): Promise<void> {
  await chmod(path, 0o700).catch(() => undefined);
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) await makeWritable(inner);
  }
}

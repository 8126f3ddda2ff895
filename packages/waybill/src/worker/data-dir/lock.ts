// One daemon per data directory: a file names the process that holds it. A process id alone proves
// nothing after a restart, so the holder's start time is compared too; a holder on another machine
// (a shared volume) proves itself by touching the file.
import { randomUUID } from "node:crypto";
import {
  link,
  open,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { WaybillError } from "@waybill/sdk/protocol";
import { processStartId } from "../trainers/proc.ts";
import { hasCode, readIfThere } from "./files.ts";

const Holder = v.object({ host: v.string(), pid: v.number(), started: v.string() });
type Holder = v.InferOutput<typeof Holder>;

/** A holder on another machine that has not touched its lock for this long is gone. */
const REMOTE_STALE_MS = 90_000;
const TOUCH_MS = 20_000;

export type DirLock = { release(): Promise<void> };

/** Takes the lock file; throws `conflict` naming the process that has it. */
export async function acquireLock(path: string): Promise<DirLock> {
  const mine = join(dirname(path), `.lock-${randomUUID()}`);
  const me: Holder = {
    host: hostname(),
    pid: process.pid,
    started: (await processStartId(process.pid)) ?? "unknown",
  };
  await writeFile(mine, JSON.stringify(me), { mode: 0o600 });
  try {
    for (;;) {
      if (await linkIfFree(mine, path)) return hold(path, me);
      const text = await readIfThere(path);
      if (text === undefined) continue;
      const holder = await livingHolder(path, text);
      if (holder !== undefined) {
        const where = holder.host === me.host ? "" : ` on ${holder.host}`;
        throw new WaybillError(
          "conflict",
          `${dirname(path)} is in use by the worker with process id ${holder.pid}${where}`,
          { hint: "stop that worker, or give this one another directory with --data DIR" },
        );
      }
      await removeStale(path, text);
    }
  } finally {
    await unlink(mine);
  }
}

function hold(path: string, me: Holder): DirLock {
  const touch = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, TOUCH_MS);
  touch.unref();
  return {
    release: async () => {
      clearInterval(touch);
      const text = await readIfThere(path);
      if (text === JSON.stringify(me)) await rm(path, { force: true });
    },
  };
}

async function linkIfFree(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    if (hasCode(error, "EPERM") || hasCode(error, "ENOTSUP")) return copyIfFree(from, to);
    throw error;
  }
}

/** For file systems without hard links. */
async function copyIfFree(from: string, to: string): Promise<boolean> {
  try {
    const file = await open(to, "wx", 0o600);
    await file.writeFile(await readFile(from));
    await file.close();
    return true;
  } catch (error) {
    if (hasCode(error, "EEXIST")) return false;
    throw error;
  }
}

async function livingHolder(path: string, text: string): Promise<Holder | undefined> {
  let holder: Holder;
  try {
    holder = v.parse(Holder, JSON.parse(text));
  } catch {
    return undefined;
  }
  if (holder.host === hostname()) {
    const started = await processStartId(holder.pid);
    return started === holder.started ? holder : undefined;
  }
  const touched = await stat(path).catch(() => undefined);
  if (touched === undefined || Date.now() - touched.mtimeMs > REMOTE_STALE_MS) return undefined;
  return holder;
}

/** Takes a dead holder's file away; one that was replaced meanwhile is put back. */
async function removeStale(path: string, text: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return;
    throw error;
  }
  if ((await readFile(aside, "utf8")) !== text) await linkIfFree(aside, path);
  await unlink(aside);
}

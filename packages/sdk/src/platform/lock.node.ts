// Lock files that die with their holder. A lock names its holder by process id, boot, namespace of process ids and
// start: in containers every program is process 1. What a holder in another container or on another machine does
// cannot be seen, so holders touch their lock, and one of theirs that is no longer touched counts for nothing.
import * as fs from "node:fs";
import * as path from "node:path";
import { WaybillError } from "../protocol/index.ts";
import { codeOf, ioError } from "./file-errors.ts";

/** A holder touches its lock this often. */
const BEAT_MS = 250;
/** Six missed beats: a holder that is busy misses one or two. */
const STALE_MS = 1500;

type Lock = { readonly text: string; readonly mtimeMs: number };

/** Locks of this process, for systems that tell no process from an earlier one of its number. */
const held = new Set<string>();

/** Takes a lock; `makeFolder` makes the folder it lies in. As `FileSystem.lock`. */
export function takeLock(
  name: string,
  what: string,
  makeFolder: (folder: string) => void,
): () => void {
  const lock = path.resolve(name);
  const text = describeSelf();
  for (;;) {
    if (held.has(lock)) throw inUse(lock, what, String(process.pid));
    try {
      fs.writeFileSync(lock, text, { flag: "wx" });
      return hold(lock, text);
    } catch (cause) {
      const code = codeOf(cause);
      if (code !== "EEXIST" && code !== "ENOENT") throw ioError("lock", name, cause);
      if (code === "ENOENT") makeFolder(path.dirname(lock));
    }
    const there = readLock(lock);
    if (there === undefined) continue;
    if (isHeld(there)) throw inUse(lock, what, there.text);
    takeAway(lock, there.text);
  }
}

function hold(lock: string, text: string): () => void {
  held.add(lock);
  const timer = setInterval(() => {
    if (!touch(lock, text)) clearInterval(timer);
  }, BEAT_MS);
  timer.unref();
  return () => {
    if (!held.delete(lock)) return;
    clearInterval(timer);
    if (readLock(lock)?.text === text) fs.rmSync(lock, { force: true });
  };
}

/** Whether the lock was still ours to touch. */
function touch(lock: string, text: string): boolean {
  try {
    const file = fs.openSync(lock, "r+");
    try {
      if (fs.readFileSync(file, "utf8") !== text) return false;
      const now = new Date();
      fs.futimesSync(file, now, now);
      return true;
    } finally {
      fs.closeSync(file);
    }
  } catch {
    // Somebody removed it; whoever wants it may have it.
    return false;
  }
}

/** Opened, not only asked for: network file systems look for news when a file is opened. */
function readLock(lock: string): Lock | undefined {
  try {
    const file = fs.openSync(lock, "r");
    try {
      return { text: fs.readFileSync(file, "utf8"), mtimeMs: fs.fstatSync(file).mtimeMs };
    } finally {
      fs.closeSync(file);
    }
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    throw ioError("read", lock, cause);
  }
}

function isHeld({ text, mtimeMs }: Lock): boolean {
  const isFresh = Math.abs(Date.now() - mtimeMs) < STALE_MS;
  const [number, boot, space, start] = text.trim().split(" ");
  const pid = Number(number);
  // Its holder has made it and not yet written to it, or was killed in between.
  if (!(pid > 0)) return isFresh;
  const self = facts();
  if (self === undefined || start === undefined) return pid !== process.pid && isAlive(pid);
  if (boot !== self.boot || space !== self.space) return isFresh;
  return isAlive(pid, start);
}

/** Removes a lock without a holder; one that another process took just now is put back. */
function takeAway(lock: string, text: string): void {
  const aside = `${lock}.${process.pid}`;
  try {
    fs.renameSync(lock, aside);
    if (readLock(aside)?.text !== text) fs.linkSync(aside, lock);
  } catch (cause) {
    const code = codeOf(cause);
    if (code !== "ENOENT" && code !== "EEXIST") throw ioError("lock", lock, cause);
  } finally {
    fs.rmSync(aside, { force: true });
  }
}

function inUse(lock: string, what: string, text: string): WaybillError {
  const [number = "", boot, space] = text.trim().split(" ");
  const self = facts();
  const isElsewhere = space !== undefined && (boot !== self?.boot || space !== self?.space);
  const where = isElsewhere ? " of another container or machine" : "";
  const who = number === "" ? "another process" : `process ${number}${where}`;
  return new WaybillError("conflict", `${what} is in use by ${who}`, {
    hint: `wait for it, or remove ${lock} if that process is another program`,
  });
}

function describeSelf(): string {
  const self = facts();
  if (self === undefined) return String(process.pid);
  return `${process.pid} ${self.boot} ${self.space} ${self.start}`;
}

type ProcessFacts = { readonly boot: string; readonly space: string; readonly start: string };

/** What tells this process from any other one of its number; undefined where the system does not say. */
function facts(): ProcessFacts | undefined {
  try {
    const own = fs.readFileSync("/proc/self/stat", "latin1");
    // The /proc of another namespace is of no use.
    if (!own.startsWith(`${process.pid} `)) return undefined;
    const boot = fs.readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    return { boot, space: fs.readlinkSync("/proc/self/ns/pid"), start: parseStat(own).start };
  } catch {
    return undefined;
  }
}

/** `proc(5)`: the state is field 3, the start field 22; the name before them may hold anything. */
function parseStat(stat: string): { readonly state: string; readonly start: string } {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", start: fields[19] ?? "" };
}

/** Whether the process is there, and began at `start` when that is given. */
function isAlive(pid: number, start?: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== "EPERM") return false;
  }
  let stat: string;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    // Another system, or one that hides the processes of others.
    return true;
  }
  const found = parseStat(stat);
  // A process that has ended keeps its number until its parent asks; in containers nobody may.
  if (found.state === "Z" || found.state === "X") return false;
  return start === undefined || found.start === start;
}

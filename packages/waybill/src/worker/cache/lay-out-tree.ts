// Gives a job a tree of its own of what lies in the cache, without moving bytes where the file system can: a reflink (a
// copy of its own that shares the blocks until one of the two is written) before a hard link (the very same read-only
// file) before a copy. Decision 17 says why in this order.
import { constants, copyFile, link, mkdir, readdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { hasCode } from "../data-dir/files.ts";
import { measureTree } from "./tree-state.ts";

export type Layout = {
  /** Where the job finds the files: the folder asked for, or the tree in the cache itself. */
  readonly dir: string;
  readonly reflinks: number;
  readonly links: number;
  readonly copies: number;
};

type Way = "reflink" | "link" | "copy";

export type LayOutInit = {
  readonly from: string;
  readonly to: string;
  /** What a copy must leave free on its disk, in bytes. */
  readonly minFreeBytes: number;
  /** Default: those of the operating system; tests have others. */
  readonly calls?: Partial<FileCalls>;
};

export type FileCalls = {
  reflink(from: string, to: string): Promise<void>;
  link(from: string, to: string): Promise<void>;
  copy(from: string, to: string): Promise<void>;
};

/** Enough to keep the thread pool busy. */
const FILES_AT_ONCE = 64;

const CALLS: FileCalls = {
  reflink: (from, to) => copyFile(from, to, constants.COPYFILE_FICLONE_FORCE),
  link,
  copy: copyFile,
};

/** The file system cannot do it, at all or for this file. */
const CANNOT = [
  "EXDEV",
  "EMLINK",
  "EPERM",
  "EACCES",
  "ENOTSUP",
  "EOPNOTSUPP",
  "ENOSYS",
  "EINVAL",
  "ENOTTY",
];

/**
 * Lays a tree out at `to`, which must not be there. A copy that would fill the disk is not made: the job reads the tree
 * in the cache then.
 */
export async function layOutTree(init: LayOutInit): Promise<Layout> {
  const walk = new Walk({ ...CALLS, ...init.calls }, init);
  await mkdir(init.to, { recursive: true, mode: 0o755 });
  const isDone = await walk.folder(init.from, init.to);
  const { reflink: reflinks, link: links, copy: copies } = walk.counts;
  return { dir: isDone ? init.to : init.from, reflinks, links, copies };
}

class Walk {
  readonly counts: Record<Way, number> = { reflink: 0, link: 0, copy: 0 };
  readonly #calls: FileCalls;
  readonly #init: LayOutInit;
  #canReflink = true;
  #canCopy: Promise<boolean> | undefined;

  constructor(calls: FileCalls, init: LayOutInit) {
    this.#calls = calls;
    this.#init = init;
  }

  /** False when it was broken off for want of room. */
  async folder(from: string, to: string): Promise<boolean> {
    const entries = await readdir(from, { withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    // The first one finds out what this file system can.
    for (let at = 0; at < files.length; at += at === 0 ? 1 : FILES_AT_ONCE) {
      const some = files.slice(at, at === 0 ? 1 : at + FILES_AT_ONCE);
      const done = await Promise.all(
        some.map((name) => this.#file(join(from, name), join(to, name))),
      );
      if (done.includes(false)) return false;
    }
    for (const entry of entries) {
      if (!entry.isDirectory()) continue;
      const inner = join(to, entry.name);
      await mkdir(inner, { recursive: true, mode: 0o755 });
      if (!(await this.folder(join(from, entry.name), inner))) return false;
    }
    return true;
  }

  async #file(from: string, to: string): Promise<boolean> {
    if (this.#canReflink) {
      if (await this.#try("reflink", from, to)) return true;
      this.#canReflink = false;
    }
    if (await this.#try("link", from, to)) return true;
    this.#canCopy ??= this.#hasRoom();
    if (!(await this.#canCopy)) return false;
    await this.#calls.copy(from, to);
    this.counts.copy += 1;
    return true;
  }

  async #try(way: "reflink" | "link", from: string, to: string): Promise<boolean> {
    try {
      await this.#calls[way](from, to);
      this.counts[way] += 1;
      return true;
    } catch (error) {
      if (CANNOT.some((code) => hasCode(error, code))) return false;
      throw error;
    }
  }

  async #hasRoom(): Promise<boolean> {
    const { from, to, minFreeBytes } = this.#init;
    const { bavail, bsize } = await statfs(to);
    return bavail * bsize - (await measureTree(from)).bytes >= minFreeBytes;
  }
}

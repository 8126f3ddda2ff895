// The file system of Node, with its errors put into words.
import * as fs from "node:fs";
import * as path from "node:path";
import { WaybillError, messageOf } from "../protocol/index.ts";
import type { FileFacts, FileSystem, OpenFile } from "./file-system.ts";

export const files: FileSystem = {
  join: (root, ...relative) => path.join(root, ...relative),
  absolute: (name) => path.resolve(name),
  baseName: (name) => path.basename(path.resolve(name)),
  lookAt: (name) => orNothing(name, () => factsOf(fs.lstatSync(name))),
  follow: (name) => orNothing(name, () => factsOf(fs.statSync(name))),
  realPath: (name) => attempt("resolve", name, () => fs.realpathSync.native(name)),
  names: (directory) => attempt("list", directory, () => fs.readdirSync(directory)),
  makeDirectory: (name) => attempt("create folder", name, () => makeFolders(name)),
  rename: (from, to) => attempt("put in place", to, () => fs.renameSync(from, to)),
  setExecutable: (name, executable) =>
    attempt("change mode of", name, () => {
      const mode = fs.statSync(name).mode & 0o777;
      // Who may read it may run it, as `chmod +x` under the usual umask does.
      const wanted = executable ? mode | ((mode & 0o444) >> 2) : mode & ~0o111;
      if (wanted !== mode) fs.chmodSync(name, wanted);
    }),
  remove: (name) =>
    attempt("remove", name, () => fs.rmSync(name, { recursive: true, force: true })),
  removeEmpty: (name) => {
    try {
      fs.rmdirSync(name);
    } catch {
      // Something else lies in it, or it is gone: both are fine.
    }
  },
  readSmall: (name, into) =>
    attempt("read", name, () => {
      const file = fs.openSync(name, "r");
      try {
        const before = factsOf(fs.fstatSync(file));
        const bytes = readAll(file, into);
        // By name, not by handle: a file that was replaced meanwhile has changed, too.
        return { bytes, before, after: factsOf(fs.statSync(name)) };
      } finally {
        fs.closeSync(file);
      }
    }),
  writeSmall: (name, bytes) => attempt("write", name, () => fs.writeFileSync(name, bytes)),
  readText: (name) => orNothing(name, () => fs.readFileSync(name, "utf8")),
  appendText: (name, text) => attempt("write", name, () => fs.appendFileSync(name, text)),
  open: async (name, mode) => {
    // "r+" would fail on a new file and "w" would empty an old one.
    const flags = mode === "read" ? "r" : fs.constants.O_RDWR | fs.constants.O_CREAT;
    const handle = await fs.promises.open(name, flags).catch((cause: unknown) => {
      throw ioError("open", name, cause);
    });
    return openFile(name, handle);
  },
  lock: (name, what) => takeLock(name, what),
};

function openFile(name: string, handle: fs.promises.FileHandle): OpenFile {
  const attemptAsync = <T>(verb: string, run: () => Promise<T>): Promise<T> =>
    run().catch((cause: unknown) => {
      throw ioError(verb, name, cause);
    });
  return {
    read: (into, position) =>
      attemptAsync("read", async () => {
        let done = 0;
        while (done < into.length) {
          const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
        return done;
      }),
    write: (bytes, position) =>
      attemptAsync("write", async () => {
        let done = 0;
        while (done < bytes.length) {
          const left = bytes.length - done;
          const { bytesWritten } = await handle.write(bytes, done, left, position + done);
          done += bytesWritten;
        }
      }),
    facts: () => attemptAsync("inspect", async () => factsOf(await handle.stat())),
    resize: (size) => attemptAsync("resize", () => handle.truncate(size)),
    sync: () => attemptAsync("flush", () => handle.datasync()),
    close: () => attemptAsync("close", () => handle.close()),
  };
}

/** `mkdir -p`. Node's own never returns where the system says ENOENT for a folder that is there (/proc). */
function makeFolders(name: string): void {
  const parent = path.dirname(name);
  if (makeFolder(name) || parent === name) return;
  makeFolders(parent);
  if (!makeFolder(name)) fs.mkdirSync(name);
}

/** Whether the folder is there now; false when the one it lies in is not. */
function makeFolder(name: string): boolean {
  try {
    fs.mkdirSync(name);
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    if (codeOf(error) === "EEXIST" && fs.statSync(name).isDirectory()) return true;
    throw error;
  }
}

function readAll(file: number, into: Uint8Array): number {
  let done = 0;
  while (done < into.length) {
    const bytes = fs.readSync(file, into, done, into.length - done, done);
    if (bytes === 0) break;
    done += bytes;
  }
  return done;
}

function factsOf(stats: fs.Stats): FileFacts {
  return {
    kind: stats.isFile()
      ? "file"
      : stats.isDirectory()
        ? "directory"
        : stats.isSymbolicLink()
          ? "symlink"
          : "other",
    size: stats.size,
    mtimeMs: stats.mtimeMs,
    inode: stats.ino,
    executable: (stats.mode & 0o100) !== 0,
    // Windows knows read-only only; its made-up bits are not worth keeping.
    mode:
      process.platform === "win32"
        ? (stats.mode & 0o100) === 0
          ? 0o644
          : 0o755
        : stats.mode & 0o777,
  };
}

function takeLock(name: string, what: string): () => void {
  for (;;) {
    try {
      fs.writeFileSync(name, String(process.pid), { flag: "wx" });
      return () => fs.rmSync(name, { force: true });
    } catch (cause) {
      if (codeOf(cause) !== "EEXIST") throw ioError("lock", name, cause);
      const holder = Number(fs.readFileSync(name, "utf8"));
      if (holder === process.pid || (holder > 0 && isAlive(holder))) {
        throw new WaybillError("conflict", `${what} is in use by process ${holder}`, {
          hint: `wait for it, or remove ${name} if that process is another program`,
          cause,
        });
      }
      fs.rmSync(name, { force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

function attempt<T>(verb: string, name: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw ioError(verb, name, cause);
  }
}

function orNothing<T>(name: string, run: () => T): T | undefined {
  try {
    return run();
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw ioError("inspect", name, cause);
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

/** The sentence for each reason people meet; the rest keeps the system's own words. */
function ioError(verb: string, name: string, cause: unknown): Error {
  if (cause instanceof WaybillError) return cause;
  switch (codeOf(cause)) {
    case "ENOSPC":
    case "EDQUOT":
      return new WaybillError("storage_full", `no space left to ${verb} ${name}`, {
        hint: "free some space and run the same command again: what has arrived is kept",
        cause,
      });
    case "EACCES":
    case "EPERM":
      return new WaybillError("local_io", `no permission to ${verb} ${name}`, {
        hint: "check the owner and mode of the file and of the folders above it",
        cause,
      });
    case "EROFS":
      return new WaybillError("local_io", `cannot ${verb} ${name}: its disk is read-only`, {
        hint: "choose a folder on a writable disk",
        cause,
      });
    case "ENOENT":
      return new WaybillError("local_io", `cannot ${verb} ${name}: it is not there (any more)`, {
        cause,
      });
    case "ENOTDIR":
      return new WaybillError(
        "local_io",
        `cannot ${verb} ${name}: something on its path is not a folder`,
        { cause },
      );
    case "EMFILE":
    case "ENFILE":
      return new WaybillError("local_io", `cannot ${verb} ${name}: too many open files`, {
        hint: "raise the limit with `ulimit -n 4096`",
        cause,
      });
    default:
      return new WaybillError("local_io", `cannot ${verb} ${name}: ${messageOf(cause)}`, { cause });
  }
}

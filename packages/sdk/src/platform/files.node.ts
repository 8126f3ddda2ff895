// The file system of Node, with its errors put into words.
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { codeOf, ioError } from "./file-errors.ts";
import type { FileFacts, FileSystem } from "./file-system.ts";
import { factsOf } from "./file-facts.node.ts";
import { takeLock } from "./lock.node.ts";
import { openDirect, openFile } from "./open-file.node.ts";

export const files: FileSystem = {
  join: (root, ...relative) => path.join(root, ...relative),
  absolute: (name) => path.resolve(name),
  baseName: (name) => path.basename(path.resolve(name)),
  // Without an exception where nothing is there: pulls ask before they put each file in place.
  lookAt: (name) => orNothing(name, () => factsOrNothing(fs.lstatSync(name, quietly))),
  follow: (name) => orNothing(name, () => factsOrNothing(fs.statSync(name, quietly))),
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
  setMode: (name, mode) => attempt("change mode of", name, () => fs.chmodSync(name, mode & 0o777)),
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
    return openFile(name, handle, mode === "write-direct" ? await openDirect(name) : undefined);
  },
  flushFileSystem: (directory) => flushFileSystem(directory),
  lock: (name, what) =>
    takeLock(name, what, (folder) => attempt("create folder", folder, () => makeFolders(folder))),
};

const quietly = { throwIfNoEntry: false } as const;

function factsOrNothing(stats: fs.Stats | undefined): FileFacts | undefined {
  return stats === undefined ? undefined : factsOf(stats);
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

/** syncfs(2), which Node does not offer, by way of coreutils. */
async function flushFileSystem(directory: string): Promise<boolean> {
  if (process.platform !== "linux") return false;
  const child = spawn("sync", ["--file-system", "--", directory], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  return new Promise((resolve) => {
    child.on("error", () => resolve(false));
    // A system without the option, or a disk with an error, which flushing file by file will name.
    child.on("close", (code) => resolve(code === 0));
  });
}

function attempt<T>(verb: string, name: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw ioError(verb, name, cause);
  }
}

function orNothing<T>(name: string, run: () => T | undefined): T | undefined {
  try {
    return run();
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw ioError("inspect", name, cause);
  }
}

// Lists what a push would send: every regular file below a folder (or one file), in the manifest's order.
// Holds metadata only. Links are followed while they stay inside the tree.
import { LIMITS, WaybillError, messageOf } from "../protocol/index.ts";
import { type FileFacts, TimeSlice, files } from "../platform/index.ts";
import { assertSafePath, comparePaths, findCollisions } from "./path-safety.ts";

/** Where pulls keep what is not whole yet, inside their destination (docs/protocol/artifact.md §8). */
export const PULL_STATE_FOLDER = ".waybill";

/** Paths that lead to one folder: n folders that link to the next one twice have 2^n. */
const MAX_WAYS = 10_000;
/** What a manifest holds of a file beside its path, at the least. */
const MIN_ENTRY_BYTES = 30;

export type ScannedFile = {
  readonly path: string;
  readonly size: number;
  readonly executable: boolean;
  /** Permission bits where they are unusual: not 0o644, or 0o755 of an executable (the manifest's `mode`). */
  readonly mode?: number;
  /** With size and inode: how a change during the push is noticed. */
  readonly mtimeMs: number;
  readonly inode: number;
};

export type TreeScan = {
  /** Absolute path of the folder, or of the folder the single file lies in. */
  readonly root: string;
  readonly files: readonly ScannedFile[];
  readonly bytes: number;
  /** What the user should know: names that collide elsewhere, empty folders that do not travel. */
  readonly warnings: readonly string[];
};

export type ScanOptions = {
  readonly signal?: AbortSignal | undefined;
  /**
   * What to do with links that leave the tree, sockets, devices and names an artifact cannot hold: throw
   * (default), or leave them out with a warning, where the rest must not be lost for them.
   */
  readonly unsendable?: "refuse" | "skip";
};

/**
 * Scans a folder or a single file. Throws `local_io` (not there, no permission), `unsafe_path` (a name an
 * artifact cannot hold, a link that leaves the tree) or `invalid_request` (nothing in it, a socket or device).
 */
export async function scanTree(path: string, options: ScanOptions = {}): Promise<TreeScan> {
  options.signal?.throwIfAborted();
  const absolute = files.absolute(path);
  const facts = files.follow(absolute);
  if (facts === undefined) throw new WaybillError("local_io", `${path} does not exist`);
  if (facts.kind === "file") {
    const name = files.baseName(absolute);
    assertSafePath(name, absolute);
    const only = scanned(name, facts);
    return { root: files.join(absolute, ".."), files: [only], bytes: only.size, warnings: [] };
  }
  if (facts.kind !== "directory") {
    throw new WaybillError("invalid_request", `${path} is neither a file nor a folder`);
  }
  const walk = new TreeWalk(absolute, options);
  await walk.folder("", [walk.realRoot]);
  if (walk.found.length === 0) {
    throw new WaybillError("invalid_request", `there is nothing to push: ${path} holds no file`);
  }
  const found = walk.found.sort((a, b) => comparePaths(a.path, b.path));
  return {
    root: absolute,
    files: found,
    bytes: found.reduce((sum, file) => sum + file.size, 0),
    warnings: warningsOf(found, walk),
  };
}

class TreeWalk {
  readonly found: ScannedFile[] = [];
  readonly realRoot: string;
  emptyFolders = 0;
  hasPullState = false;
  readonly #root: string;
  readonly #signal: AbortSignal | undefined;
  readonly #skips: boolean;
  /** What was left out, and why. */
  readonly skipped: string[] = [];
  readonly #slice = new TimeSlice();
  /** How many times each folder was entered. */
  readonly #ways = new Map<string, number>();
  /** Bytes of a manifest that holds what was found, at the least. */
  #manifestBytes = 0;
  /** Ends the scan, whatever may be left out. */
  #limit: WaybillError | undefined;

  constructor(root: string, options: ScanOptions) {
    this.#root = root;
    this.realRoot = files.realPath(root);
    this.#signal = options.signal;
    this.#skips = options.unsendable === "skip";
  }

  /** `realPaths`: the folder's own real path and those of the folders it lies in, to notice circles. */
  async folder(relative: string, realPaths: readonly string[]): Promise<void> {
    const absolute = relative === "" ? this.#root : files.join(this.#root, relative);
    const names = files.names(absolute);
    if (names.length === 0) this.emptyFolders += 1;
    for (const name of names) {
      await this.#slice.pause(this.#signal);
      const path = relative === "" ? name : `${relative}/${name}`;
      if (path === PULL_STATE_FOLDER && this.#isPullState(files.join(absolute, name))) continue;
      try {
        await this.#entry(path, files.join(absolute, name), realPaths);
      } catch (error) {
        if (!this.#skips || !(error instanceof WaybillError) || error === this.#limit) throw error;
        this.skipped.push(`left out: ${error.message}`);
      }
    }
  }

  async #entry(path: string, entry: string, realPaths: readonly string[]): Promise<void> {
    assertSafePath(path, this.#root);
    const own = files.lookAt(entry);
    if (own === undefined) throw vanished(entry, path);
    const facts = own.kind === "symlink" ? this.#behindLink(entry) : own;
    switch (facts.kind) {
      case "file":
        this.#countFile(path);
        this.found.push(scanned(path, facts));
        return;
      case "directory":
        await this.folder(path, this.#enter(own, entry, realPaths));
        return;
      case "symlink":
      case "other":
        throw new WaybillError(
          "invalid_request",
          `${entry} is a socket, pipe or device, which cannot be pushed`,
          { hint: "remove it or push a folder without it" },
        );
    }
  }

  #isPullState(folder: string): boolean {
    if (files.lookAt(folder)?.kind !== "directory") return false;
    const isState = files.names(folder).some((name) => /^(lock|[0-9a-f]{16})$/.test(name));
    this.hasPullState ||= isState;
    return isState;
  }

  /** Facts of a link's target, which must lie inside the tree. */
  #behindLink(entry: string): FileFacts {
    const facts = followLink(entry);
    if (facts === undefined) {
      throw new WaybillError("local_io", `${entry} is a link to something that is not there`, {
        hint: "remove the link, or restore what it points to",
      });
    }
    const real = files.realPath(entry);
    if (real !== this.realRoot && !real.startsWith(files.join(this.realRoot, "/"))) {
      throw new WaybillError(
        "unsafe_path",
        `${entry} is a link that leaves the tree (to ${real})`,
        {
          hint: "replace the link by a copy of what it points to",
        },
      );
    }
    return facts;
  }

  #enter(own: FileFacts, entry: string, realPaths: readonly string[]): readonly string[] {
    const real =
      own.kind === "symlink"
        ? files.realPath(entry)
        : files.join(realPaths.at(-1) ?? this.realRoot, files.baseName(entry));
    if (realPaths.includes(real)) {
      throw new WaybillError("unsafe_path", `${entry} is a link to a folder it lies in`, {
        hint: "remove the link",
      });
    }
    this.#countWay(real);
    return [...realPaths, real];
  }

  #countFile(path: string): void {
    this.#manifestBytes += MIN_ENTRY_BYTES + path.length;
    if (this.#manifestBytes <= LIMITS.manifestBytes) return;
    this.#limit = new WaybillError(
      "invalid_request",
      `${this.#root} holds more than the ${this.found.length} files an artifact can name`,
      { hint: "push its folders one by one, or put the files into archives" },
    );
    throw this.#limit;
  }

  /** Every folder once is what a tree without links has; links multiply it. */
  #countWay(real: string): void {
    const ways = (this.#ways.get(real) ?? 0) + 1;
    this.#ways.set(real, ways);
    if (ways <= MAX_WAYS) return;
    this.#limit = new WaybillError(
      "unsafe_path",
      `${real} is reached by more than ${MAX_WAYS} paths: links in ${this.#root} lead from folder to folder`,
      { hint: "remove links between folders; each path through them would be a folder of its own" },
    );
    throw this.#limit;
  }
}

/** As `files.follow`; a chain of links without an end is put into words. */
function followLink(entry: string): FileFacts | undefined {
  try {
    return files.follow(entry);
  } catch (cause) {
    if (!messageOf(cause).includes("ELOOP")) throw cause;
    throw new WaybillError("unsafe_path", `${entry} is a link that leads to itself`, {
      hint: "remove the link",
      cause,
    });
  }
}

function scanned(path: string, facts: FileFacts): ScannedFile {
  const { size, executable, mode, mtimeMs, inode } = facts;
  const isUsual = mode === (executable ? 0o755 : 0o644);
  return { path, size, executable, ...(isUsual ? {} : { mode }), mtimeMs, inode };
}

function vanished(entry: string, name: string): WaybillError {
  // Names that are not UTF-8 are read as U+FFFD, and nothing has that name.
  return name.includes("\u{fffd}")
    ? new WaybillError("unsafe_path", `the name of ${entry} is not valid UTF-8`, {
        hint: "rename the file (for example with convmv)",
      })
    : new WaybillError("source_changed", `${entry} vanished while its folder was being listed`);
}

function warningsOf(
  found: readonly ScannedFile[],
  { emptyFolders, hasPullState, skipped }: TreeWalk,
): string[] {
  const warnings = findCollisions(found.map((file) => file.path)).map(
    (group) => `${group.join(" and ")} are one file on systems that ignore case`,
  );
  if (emptyFolders > 0) {
    const folders = emptyFolders === 1 ? "1 empty folder is" : `${emptyFolders} empty folders are`;
    warnings.push(`${folders} not part of the artifact: only files travel`);
  }
  if (hasPullState) {
    warnings.push(`${PULL_STATE_FOLDER} was left out: a pull into this folder is not finished`);
  }
  return [...warnings, ...skipped];
}

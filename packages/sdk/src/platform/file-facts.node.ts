// What the system knows of a file, as transfers use it.
import type * as fs from "node:fs";
import type { FileFacts } from "./file-system.ts";

/** Facts of a `stat`. */
export function factsOf(stats: fs.Stats): FileFacts {
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

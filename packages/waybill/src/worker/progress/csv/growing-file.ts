// Reads what is added to a file that may not be there yet, and begins again when it turns out to be another: shorter,
// replaced, or different just before the place where reading goes on. Opened anew at every look.
import { type FileHandle, open, realpath } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { hasCode } from "../../data-dir/files.ts";

export type GrowingFileInit = {
  readonly path: string;
  /** Directories it may lie in; the first that has it counts. */
  readonly roots: readonly string[];
  readonly onRewritten: () => void;
  readonly onBytes: (bytes: Buffer) => Promise<void>;
};

const READ_BYTES = 64 * 1024;
/** Bytes before the place where reading goes on that must be the same: the end of a row of numbers. */
const GUARD_BYTES = 256;

export class GrowingFile {
  readonly #init: GrowingFileInit;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #found: "never" | "outside" | "inside" = "never";
  #offset = 0;
  #guard: Buffer = Buffer.alloc(0);
  #seen: { readonly inode: number; readonly bytes: number; readonly changedMs: number } | undefined;

  constructor(init: GrowingFileInit) {
    this.#init = init;
  }

  /** Where it was found so far; `outside`: only by a symbolic link that leads out of the roots. */
  get found(): "never" | "outside" | "inside" {
    return this.#found;
  }

  /** Reads what is new; a file that is not there has nothing. */
  async look(): Promise<void> {
    const path = await this.#find();
    if (path === undefined) return;
    const file = await open(path, "r").catch((error: unknown) => {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    });
    if (file === undefined) return;
    try {
      await this.#read(file);
    } finally {
      await file.close();
    }
  }

  async #read(file: FileHandle): Promise<void> {
    const { ino: inode, size: bytes, mtimeMs: changedMs } = await file.stat();
    const seen = this.#seen;
    if (seen?.inode === inode && seen.bytes === bytes && seen.changedMs === changedMs) return;
    for (;;) {
      // The guard and what follows it in one read: a file that is written anew in between would be taken for itself.
      const kept = this.#guard.length;
      const { bytesRead } = await file.read(this.#buffer, 0, READ_BYTES, this.#offset - kept);
      if (bytesRead < kept || !this.#buffer.subarray(0, kept).equals(this.#guard)) {
        this.#offset = 0;
        this.#guard = Buffer.alloc(0);
        this.#init.onRewritten();
        continue;
      }
      const chunk = this.#buffer.subarray(kept, bytesRead);
      if (chunk.length === 0) break;
      this.#offset += chunk.length;
      this.#guard = Buffer.concat([this.#guard, chunk]).subarray(-GUARD_BYTES);
      await this.#init.onBytes(chunk);
    }
    this.#seen = { inode, bytes, changedMs };
  }

  /** Where it is; symbolic links must not lead out of the roots (trainer.md §4). */
  async #find(): Promise<string | undefined> {
    for (const root of this.#init.roots) {
      const inside = await realpath(root).catch(() => undefined);
      if (inside === undefined) continue;
      const path = await realpath(resolve(inside, this.#init.path)).catch(() => undefined);
      if (path?.startsWith(inside + sep) === true) {
        this.#found = "inside";
        return path;
      }
      if (path !== undefined && this.#found === "never") this.#found = "outside";
    }
    return undefined;
  }
}

// What a cache really takes on its disk: a file that has several names counts once.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

export type DiskUse = {
  /** Blocks of all files, in bytes. */
  readonly bytes: number;
  readonly files: number;
  /** Of that, what also has names outside: removing it from the cache frees nothing until those are gone. */
  readonly linkedBytes: number;
};

/** POSIX: `st_blocks` counts units of 512 bytes, whatever the file system's blocks are. */
const BLOCK_BYTES = 512;

type Inode = { readonly bytes: number; readonly names: number; seen: number };

export async function diskUse(dirs: readonly string[]): Promise<DiskUse> {
  const inodes = new Map<string, Inode>();
  for (const dir of dirs) await walk(dir, inodes);
  let bytes = 0;
  let linkedBytes = 0;
  for (const inode of inodes.values()) {
    bytes += inode.bytes;
    if (inode.names > inode.seen) linkedBytes += inode.bytes;
  }
  return { bytes, files: inodes.size, linkedBytes };
}

async function walk(dir: string, inodes: Map<string, Inode>): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) {
      await walk(path, inodes);
      continue;
    }
    const facts = await stat(path).catch(() => undefined);
    if (facts === undefined) continue;
    const key = `${facts.dev} ${facts.ino}`;
    const known = inodes.get(key);
    if (known !== undefined) known.seen += 1;
    else inodes.set(key, { bytes: facts.blocks * BLOCK_BYTES, names: facts.nlink, seen: 1 });
  }
}

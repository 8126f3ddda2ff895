// A print of a tree's state that changes when any file of it is written, replaced, added, removed or made executable.
import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** Enough to keep the thread pool busy. */
const STATS_AT_ONCE = 64;

/** Hash over every file's path, size, inode, modification time and whether it is executable; `undefined` when there is no such directory. */
export async function treeState(dir: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    await add(hash, dir, "");
  } catch {
    return undefined;
  }
  return hash.digest("hex");
}

async function add(
  hash: ReturnType<typeof createHash>,
  dir: string,
  prefix: string,
): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (let first = 0; first < entries.length; first += STATS_AT_ONCE) {
    const slice = entries.slice(first, first + STATS_AT_ONCE);
    const stats = await Promise.all(slice.map((entry) => stat(join(dir, entry.name))));
    for (const [i, entry] of slice.entries()) {
      const path = `${prefix}${entry.name}`;
      const found = stats[i];
      if (entry.isDirectory()) await add(hash, join(dir, entry.name), `${path}/`);
      else {
        const mark = ((found?.mode ?? 0) & 0o111) === 0 ? "" : "x\0";
        hash.update(`${path}\0${found?.size}\0${found?.ino}\0${found?.mtimeMs}\0${mark}`);
      }
    }
  }
}

/** Number and bytes of a tree's files, and when one of them was written last; a missing tree has none. */
export async function measureTree(
  dir: string,
): Promise<{ files: number; bytes: number; newestMs: number }> {
  let files = 0;
  let bytes = 0;
  let newestMs = 0;
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) {
      const inner = await measureTree(path);
      files += inner.files;
      bytes += inner.bytes;
      newestMs = Math.max(newestMs, inner.newestMs);
    } else {
      const found = await stat(path).catch(() => ({ size: 0, mtimeMs: 0 }));
      files += 1;
      bytes += found.size;
      newestMs = Math.max(newestMs, found.mtimeMs);
    }
  }
  return { files, bytes, newestMs };
}

// Small files that must be whole or absent: written beside their place and renamed into it.
import { open, readFile, rename } from "node:fs/promises";

/** Replaces `path` by `text` atomically; with `sync` it also survives loss of power. */
export async function replaceFile(path: string, text: string, sync = false): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(text);
    if (sync) await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** A file's text, or `undefined` when there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Whether a system call failed with this code. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

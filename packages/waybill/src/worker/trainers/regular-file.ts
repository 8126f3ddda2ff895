// Files that a trainer names or leaves. Opening a pipe waits for a writer, and opening a device may do anything: neither is
// opened, and what takes a file's place at that moment is opened without waiting.
import type { Stats } from "node:fs";
import { type FileHandle, constants, lstat, open } from "node:fs/promises";
import { WaybillError } from "@waybill/sdk/protocol";

/** Windows has neither flag, nor pipes among files. */
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0);

/** The bytes of a file of at most `maxBytes`; throws `invalid_request` when it is no file, `too_large`. */
export async function readSmall(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await openRegular(path);
  try {
    const { size } = await file.stat();
    if (size > maxBytes) {
      throw new WaybillError("too_large", `it has ${size} bytes, at most ${maxBytes} are allowed`);
    }
    return await readUpTo(file, size);
  } finally {
    await file.close();
  }
}

/** The beginning of a file as text, and whether that is all of it; `undefined` when there is none. */
export async function readStart(
  path: string,
  maxBytes: number,
): Promise<{ readonly text: string; readonly whole: boolean } | undefined> {
  const there = await lstat(path).catch(() => undefined);
  if (there === undefined) return undefined;
  const file = await openRegular(path);
  try {
    const { size } = await file.stat();
    const bytes = await readUpTo(file, Math.min(size, maxBytes));
    return { text: new TextDecoder().decode(bytes), whole: size <= maxBytes };
  } finally {
    await file.close();
  }
}

async function openRegular(path: string): Promise<FileHandle> {
  assertFile(await lstat(path));
  const file = await open(path, OPEN_FLAGS);
  try {
    assertFile(await file.stat());
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readUpTo(file: FileHandle, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  const { bytesRead } = await file.read(bytes, 0, size, 0);
  return bytes.subarray(0, bytesRead);
}

function assertFile(stats: Stats): void {
  if (!stats.isFile()) throw new WaybillError("invalid_request", "it is not a file");
}

// Files to move, made anew for each benchmark.
import { randomFillSync } from "node:crypto";
import { mkdir, open } from "node:fs/promises";
import path from "node:path";

const BLOCK = 8 * 1024 * 1024;
export const MIB = 1024 * 1024;

/** A file of random bytes: nothing can compress or deduplicate it. */
export async function writeRandom(file: string, bytes: number): Promise<void> {
  const block = new Uint8Array(BLOCK);
  await using handle = await open(file, "w");
  for (let written = 0; written < bytes; written += block.length) {
    randomFillSync(block);
    await handle.write(block, 0, Math.min(block.length, bytes - written));
  }
}

/** Writes random bytes over part of a file. */
export async function overwriteRandom(file: string, start: number, bytes: number): Promise<void> {
  await using handle = await open(file, "r+");
  const block = new Uint8Array(bytes);
  randomFillSync(block);
  await handle.write(block, 0, bytes, start);
}

/** `files` files of 2 to 20 KiB, 1,000 to a folder; their bytes. */
export async function writeSmallFiles(folder: string, files: number): Promise<number> {
  const bytes = new Uint8Array(20 * 1024);
  let total = 0;
  for (let i = 0; i < files; i++) {
    const group = path.join(folder, String(Math.floor(i / 1000)).padStart(4, "0"));
    if (i % 1000 === 0) await mkdir(group, { recursive: true });
    // Every size between the two, in an order that repeats nowhere near.
    const size = 2048 + ((i * 7919) % (18 * 1024 + 1));
    randomFillSync(bytes, 0, size);
    await using handle = await open(path.join(group, `${i}.bin`), "w");
    await handle.write(bytes, 0, size);
    total += size;
  }
  return total;
}

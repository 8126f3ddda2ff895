// Large files nothing can compress, and their digests, without holding them in memory.
import { createHash, randomFillSync } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";

/** Writes `bytes` random bytes; gives their SHA-256. */
export async function writeRandomFile(file: string, bytes: number): Promise<string> {
  const hash = createHash("sha256");
  const block = new Uint8Array(4 * 1024 * 1024);
  await using handle = await open(file, "w");
  for (let written = 0; written < bytes; written += block.length) {
    randomFillSync(block);
    const part = block.subarray(0, Math.min(block.length, bytes - written));
    hash.update(part);
    await handle.write(part);
  }
  return hash.digest("hex");
}

/** SHA-256 of a file. */
export async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(file, { highWaterMark: 4 * 1024 * 1024 }))
    hash.update(part as Buffer);
  return hash.digest("hex");
}

// Large tables of text as data sets have them: compressible about three times, no two lines alike.
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";

/** Writes `bytes` bytes of CSV; gives their SHA-256. */
export async function writeTableFile(file: string, bytes: number, seed = 1): Promise<string> {
  const hash = createHash("sha256");
  await using handle = await open(file, "w");
  let state = seed;
  let row = 0;
  for (let written = 0; written < bytes;) {
    const lines: string[] = [];
    for (; lines.length < 20_000; row++) {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      const value = (20 + (state % 6000) / 1000).toFixed(2);
      const state2 = state % 11 === 0 ? "warn" : "ok";
      lines.push(`${1_700_000_000 + row * 60},sensor-${state % 40},${value},${state2},${state}\n`);
    }
    const block = Buffer.from(lines.join("")).subarray(0, bytes - written);
    hash.update(block);
    await handle.write(block);
    written += block.length;
  }
  return hash.digest("hex");
}

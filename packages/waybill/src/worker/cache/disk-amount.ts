// A size, or a share of the file system it is about.
import { statfs } from "node:fs/promises";

/** Bytes, or 0–100 of the whole file system. */
export type DiskAmount = number | { readonly percent: number };

export async function diskBytes(amount: DiskAmount, dir: string): Promise<number> {
  if (typeof amount === "number") return amount;
  const { blocks, bsize } = await statfs(dir);
  return Math.floor((blocks * bsize * amount.percent) / 100);
}

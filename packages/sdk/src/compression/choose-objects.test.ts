import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { planLayout, scanTree } from "../artifact/index.ts";
import { noise, writeTree } from "../testing/index.ts";
import { type Compress, chooseEncoded } from "./choose-objects.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "waybill-choose-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const text = (bytes: number) => Buffer.from("time,value,unit,state\n".repeat(bytes / 22 + 1));

async function chosen(files: Record<string, Uint8Array | string>, compress: Compress = "auto") {
  writeTree(root, files);
  const scan = await scanTree(root);
  const layout = planLayout(scan.files);
  const isEncoded = await chooseEncoded(scan, layout, compress);
  const keys = layout === "packed" ? ["pack.bin"] : scan.files.map(({ path }) => path);
  return keys.filter(isEncoded);
}

/** A JPEG's first bytes, and content that is as random as a JPEG's. */
const photo = (seed: number) => Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), noise(9000, seed)]);

describe("what is compressed", () => {
  it("is what shrinks: not the small, the random or the compressed", async () => {
    const files = {
      "a.csv": text(100_000),
      "b.bin": noise(100_000, 1),
      "c.txt": text(1000),
      "d.gz": Buffer.concat([Buffer.from([0x1f, 0x8b]), text(100_000)]),
      "e/f.json": text(3_000_000),
    };
    expect(await chosen(files)).toEqual(["a.csv", "e/f.json"]);
  });

  it("is everything or nothing when that is asked for, but never an object in another's place", async () => {
    const files = { "a.csv": text(50_000), "a.csv.zst": noise(100, 1), "b.bin": noise(100, 2) };
    expect(await chosen(files, "always")).toEqual(["a.csv.zst", "b.bin"]);
    expect(await chosen(files, "never")).toEqual([]);
    expect(await chosen(files)).toEqual([]);
  });

  it("of a pack is all of it, when its files shrink on the whole", async () => {
    const rows = Object.fromEntries(
      Array.from({ length: 100 }, (_, at) => [`${at}.csv`, text(4000)]),
    );
    const photos = Object.fromEntries(
      Array.from({ length: 100 }, (_, at) => [`p${at}.jpg`, photo(at)]),
    );
    expect(await chosen(rows)).toEqual(["pack.bin"]);
    rmSync(root, { recursive: true });
    expect(await chosen(photos)).toEqual([]);
  });

  it("goes by the extension where there are more files than are sampled", async () => {
    const files = Object.fromEntries(
      Array.from({ length: 400 }, (_, at) => [
        `${at}.${at % 2 === 0 ? "csv" : "bin"}`,
        at % 2 === 0 ? text(1_100_000 + at) : noise(1_100_000 + at, at),
      ]),
    );
    const keys = await chosen(files);
    expect(keys).toHaveLength(200);
    expect(keys.every((key) => key.endsWith(".csv"))).toBe(true);
  });
});

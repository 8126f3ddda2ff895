import { describe, expect, it } from "vitest";
import * as browser from "./zstd.browser.ts";
import * as node from "./zstd.node.ts";

const MIB = 1024 * 1024;

function rows(bytes: number): Uint8Array {
  const text = Array.from({ length: Math.ceil(bytes / 6) }, (_, at) => `${at * 7919},row,${at}\n`);
  return Buffer.from(text.join("")).subarray(0, bytes);
}

describe.each([
  ["Node", node.zstd],
  ["browsers", browser.zstd],
])("zstd in %s", (_, zstd) => {
  it.each([1, 100, 40_000, MIB])("reads a frame of %i bytes", async (size) => {
    const plain = rows(size);
    for (const level of [1, 3, 9]) {
      const frame = await node.zstd.compress(plain, level);
      expect(Buffer.from(await zstd.decompress(frame, size)).equals(plain)).toBe(true);
    }
  });

  it("refuses a frame of more or fewer bytes, and half a one", async () => {
    const frame = Buffer.from(await node.zstd.compress(rows(200_000), 1));
    await expect(zstd.decompress(frame, 199_999)).rejects.toThrow(/bytes|larger/);
    await expect(zstd.decompress(frame, 200_001)).rejects.toThrow("instead of 200001");
    await expect(zstd.decompress(frame.subarray(0, -100), 200_000)).rejects.toThrow(/./);
    await expect(zstd.decompress(Buffer.alloc(300, 7), 300)).rejects.toThrow(/./);
  });
});

describe("zstd in Node", () => {
  it("makes the same frame of the same bytes at the same level", async () => {
    const plain = rows(MIB);
    const [one, two] = await Promise.all([
      node.zstd.compress(plain, 3),
      node.zstd.compress(Buffer.from(plain), 3),
    ]);
    expect(Buffer.from(one).equals(two)).toBe(true);
    expect(one.length).toBeLessThan(MIB / 2);
  });
});

describe("zstd in browsers", () => {
  it("compresses nothing", async () => {
    expect(browser.zstd.canCompress).toBe(false);
    await expect(browser.zstd.compress(rows(10), 1)).rejects.toMatchObject({ code: "internal" });
  });
});

import { describe, expect, it } from "vitest";
import type { TreeScan } from "../artifact/index.ts";
import { LIMITS } from "../protocol/index.ts";
import { layOutTree, partNumberAt, partRule, slicesAt } from "./upload-plan.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

function scanOf(...sizes: readonly number[]): TreeScan {
  const files = sizes.map((size, at) => ({
    path: `f${at}`,
    size,
    executable: false,
    mtimeMs: 0,
    inode: at,
  }));
  return { root: "/", files, bytes: sizes.reduce((sum, size) => sum + size, 0), warnings: [] };
}

describe("the layout of an upload", () => {
  it.each([
    ["1 GiB", scanOf(GIB), 1, 5],
    ["10,000 MiB", scanOf(10_000 * MIB), 1, 5],
    ["100 GiB", scanOf(100 * GIB), 11, 11],
    ["400 GiB", scanOf(400 * GIB), 41, 41],
    ["5 TiB", scanOf(5120 * GIB), 525, 525],
    ["2 TiB in 400 files", scanOf(...Array.from({ length: 400 }, () => 5 * GIB)), 1, 11],
  ])("of %s has units and least parts that S3 takes", (_, scan, unitMib, minMib) => {
    const { rule } = layOutTree(scan);
    expect(rule).toEqual({ unitBytes: unitMib * MIB, minBytes: minMib * MIB });
    const biggest = Math.max(...scan.files.map(({ size }) => size));
    const last = Math.floor((biggest - 1) / rule.unitBytes) * rule.unitBytes;
    expect(partNumberAt(last, rule)).toBeLessThanOrEqual(LIMITS.s3Parts);
    expect(scan.bytes / rule.minBytes).toBeLessThanOrEqual(200_000);
  });

  it("keeps the size of parts where a store wants them equal", () => {
    expect(partRule(8 * MIB, GIB, 8 * MIB)).toMatchObject({ equalBytes: 8 * MIB });
  });

  it("is refused past S3's largest object", () => {
    expect(() => layOutTree(scanOf(5121 * GIB))).toThrow(
      expect.objectContaining({ code: "too_large" }),
    );
  });
});

describe("the files behind a part", () => {
  const { files } = scanOf(10, 0, 5, 20);

  it("are found at any place of a pack", () => {
    const slices = slicesAt(files, true, { key: "pack.bin", offset: 8, size: 12 });
    expect(slices.map(({ fileIndex, offset, size, at }) => [fileIndex, offset, size, at])).toEqual([
      [0, 8, 2, 0],
      [2, 0, 5, 2],
      [3, 0, 5, 7],
    ]);
  });

  it("are the one file of a plain object", () => {
    const slices = slicesAt(files, false, { key: "f3", offset: 4, size: 6 });
    expect(slices.map(({ fileIndex, offset, size, at }) => [fileIndex, offset, size, at])).toEqual([
      [3, 4, 6, 0],
    ]);
  });
});

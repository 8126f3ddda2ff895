import { describe, expect, it } from "vitest";
import type { TreeScan } from "../artifact/index.ts";
import { layOutTree, partsOf } from "./upload-plan.ts";

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
    ["1 GiB", scanOf(GIB), 5, 3],
    ["2 GiB", scanOf(2 * GIB), 8, 4],
    ["100 GiB", scanOf(100 * GIB), 11, 4],
    ["400 GiB", scanOf(400 * GIB), 41, 1],
    ["5 TiB", scanOf(5120 * GIB), 525, 1],
    ["1 TiB in 100 files", scanOf(...Array.from({ length: 100 }, () => 10 * GIB)), 18, 2],
  ])(
    "of %s has parts of S3's sizes, few in flight, and a bounded memory",
    (_, scan, mib, flight) => {
      const { partBytes, parts, limits } = layOutTree(scan);
      expect(partBytes).toBe(mib * MIB);
      expect(limits.flightBytes).toBe(flight * partBytes);
      expect(limits.memoryBytes).toBeLessThanOrEqual(Math.max(64 * MIB, 2 * partBytes));
      expect(limits.memoryBytes).toBeGreaterThan(limits.flightBytes);
      expect(parts.length).toBeLessThanOrEqual(60_100);
      expect(Math.max(...parts.map(({ part }) => part))).toBeLessThanOrEqual(10_000);
    },
  );

  it("loses at most 5 % to three kills from 1 GiB up", () => {
    for (let size = GIB; size < 400 * GIB; size = Math.ceil(size * 1.37)) {
      const { limits } = layOutTree(scanOf(size));
      expect((3 * limits.flightBytes) / size).toBeLessThanOrEqual(0.05);
    }
  });

  it("puts objects of at most a part at once and numbers the parts of others from 1", () => {
    expect(partsOf({ key: "k", size: 0 }, 10)).toEqual([{ key: "k", part: 0, size: 0, offset: 0 }]);
    expect(partsOf({ key: "k", size: 10 }, 10)).toHaveLength(1);
    expect(partsOf({ key: "k", size: 21 }, 10)).toEqual([
      { key: "k", part: 1, size: 10, offset: 0 },
      { key: "k", part: 2, size: 10, offset: 10 },
      { key: "k", part: 3, size: 1, offset: 20 },
    ]);
  });

  it("is refused past S3's largest object", () => {
    expect(() => layOutTree(scanOf(5121 * GIB))).toThrow(
      expect.objectContaining({ code: "too_large" }),
    );
  });
});

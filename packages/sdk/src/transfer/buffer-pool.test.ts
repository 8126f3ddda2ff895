import { describe, expect, it } from "vitest";
import { BufferPool, gatherBytes } from "./buffer-pool.ts";

const MIB = 1024 * 1024;

describe("buffers", () => {
  it("are used again, and never two at once", () => {
    const pool = new BufferPool(5000);
    const taken = Array.from({ length: 6 }, () => pool.take());
    expect(
      new Set(
        taken.map(
          (one) =>
            `${String(taken.findIndex((other) => other.buffer === one.buffer))} ${one.byteOffset}`,
        ),
      ).size,
    ).toBe(6);
    expect(taken.every((one) => one.length === 5000)).toBe(true);
    for (const one of taken) pool.give(one);
    const again = Array.from({ length: 6 }, () => pool.take());
    expect(new Set([...taken, ...again]).size).toBeLessThanOrEqual(8);
  });

  it("gather little of small artifacts, and no more than is worth it of big ones", () => {
    const sizes = [0, 192 * MIB, 768 * MIB, 1024 * MIB, 1024 * 1024 * MIB];
    expect(sizes.map((size) => gatherBytes(size) / MIB)).toEqual([1, 1, 1.5, 2, 2]);
  });
});

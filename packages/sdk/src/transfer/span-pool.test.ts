import { describe, expect, it } from "vitest";
import { SpanPool } from "./span-pool.ts";

const MIB = 1024 * 1024;

describe("a pool of buffers", () => {
  it("gives a buffer of the size out again", () => {
    const pool = new SpanPool();
    const first = pool.take(5 * MIB - 7);
    first.release();
    first.release();
    expect(pool.take(5 * MIB).buffer).toBe(first.buffer);
    expect(pool.take(5 * MIB).buffer).not.toBe(first.buffer);
  });

  it("I3: gives the buffers of smaller parts to those that have grown", () => {
    const pool = new SpanPool();
    const small = pool.take(5 * MIB);
    small.release();
    const grown = pool.take(8 * MIB);
    expect(grown.buffer).toBe(small.buffer);
    expect([pool.take(9 * MIB), pool.take(3 * MIB)].map(({ buffer }) => buffer.length)).toEqual([
      16 * MIB,
      4 * MIB,
    ]);
  });

  it("I3: keeps 48 MiB at most, of the sizes that are in use", () => {
    const pool = new SpanPool();
    const old = Array.from({ length: 8 }, () => pool.take(8 * MIB));
    for (const one of old) one.release();
    const kept = Array.from({ length: 8 }, () => pool.take(8 * MIB).buffer);
    expect(kept.filter((buffer) => old.some((one) => one.buffer === buffer))).toHaveLength(6);
  });
});

import { describe, expect, it } from "vitest";
import { checkPreference, missesDeadline, rankOf } from "./policy.ts";

const cache = { kind: "cache", cost: "free" } as const;
const peer = { kind: "peer", cost: "free" } as const;
const store = { kind: "s3", cost: "paid" } as const;
const ranks = (...args: [Parameters<typeof rankOf>[1], boolean]) =>
  [cache, peer, store].map((one) => rankOf(one, ...args));

describe("what a download prefers", () => {
  it("ranks sources by cost, by nothing but the disk, or by cost until time is short", () => {
    expect(ranks("cheap", true)).toEqual([0, 1, 2]);
    expect(ranks("fast", false)).toEqual([0, 1, 1]);
    expect(ranks({ deadlineMs: 1 }, false)).toEqual([0, 1, 2]);
    expect(ranks({ deadlineMs: 1 }, true)).toEqual([0, 1, 1]);
  });

  it("gives a deadline up for missed a fifth early, and unknown rates two seconds", () => {
    const at = (nowMs: number, bytesPerS: readonly (number | undefined)[]) =>
      missesDeadline({ deadlineAtMs: 12_000, startedMs: 0, nowMs, leftBytes: 1000, bytesPerS });
    expect(at(0, [110])).toBe(false);
    expect(at(0, [99])).toBe(true);
    expect(at(0, [60, 50])).toBe(false);
    expect(at(1999, [undefined])).toBe(false);
    expect(at(2000, [undefined])).toBe(true);
    expect(at(2000, [undefined, 200])).toBe(false);
    expect(at(0, [])).toBe(true);
  });

  it("takes no deadline in the past", () => {
    expect(() => checkPreference({ deadlineMs: 0 })).toThrow(/a time ahead/);
    expect(checkPreference("fast")).toBe("fast");
  });
});

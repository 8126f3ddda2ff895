import { describe, expect, it } from "vitest";
import {
  bar,
  formatAge,
  formatBytes,
  formatRate,
  formatSeconds,
  formatValue,
  printable,
  table,
} from "./format.ts";

describe("figures for people", () => {
  it("scales bytes by 1024 with at most two decimals", () => {
    expect([0, 1023, 1024, 1536, 10 * 1024 ** 2, 5 * 1024 ** 4].map(formatBytes)).toEqual([
      "0 B",
      "1023 B",
      "1.00 KiB",
      "1.50 KiB",
      "10.0 MiB",
      "5.00 TiB",
    ]);
  });

  it("shows no rate where no time passed", () => {
    expect(formatRate(100, 0)).toBe("–");
    expect(formatRate(2048, 2)).toBe("1.00 KiB/s");
  });

  it("shows times in the unit that fits", () => {
    expect([0.042, 2.5, 75, 3720, Number.POSITIVE_INFINITY].map(formatSeconds)).toEqual([
      "42 ms",
      "2.5 s",
      "1m 15s",
      "1h 2m",
      "–",
    ]);
  });

  it("shows ages roughly, and clocks that differ as no age", () => {
    const [m, h] = [60_000, 3_600_000];
    expect([-5000, 42_000, 17 * m, 3 * h + 5 * m, 52 * h].map(formatAge)).toEqual([
      "0 s",
      "42 s",
      "17m",
      "3h 5m",
      "2d 4h",
    ]);
  });

  it("keeps metrics short", () => {
    expect([3, 0.123456, 12345.678, 0.00001234, "text", null].map(formatValue)).toEqual([
      "3",
      "0.1235",
      "12346",
      "1.23e-5",
      "text",
      "null",
    ]);
  });

  it("fills bars and never beyond their width", () => {
    expect([bar(0, 4), bar(0.5, 4), bar(2, 4), bar(-1, 4)]).toEqual([
      "░░░░",
      "██░░",
      "████",
      "░░░░",
    ]);
  });

  it("aligns columns and leaves no trailing blanks", () => {
    expect(
      table([
        ["A", "LONG"],
        ["wide cell", "x"],
      ]),
    ).toBe("A          LONG\nwide cell  x");
  });

  it("lets no escape sequence of others reach the terminal", () => {
    expect(printable("\u001B[2Jloss\t0.3\r\u0007\u009B1m é")).toBe(
      "\uFFFD[2Jloss\t0.3\uFFFD\uFFFD\uFFFD1m é",
    );
  });
});

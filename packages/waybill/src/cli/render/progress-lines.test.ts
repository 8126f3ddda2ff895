import { describe, expect, it } from "vitest";
import { progressLines, progressText } from "./progress-lines.ts";
import type { TransferReading } from "./transfer-meter.ts";
import { summaryLine } from "./transfer-summary.ts";

const MIB = 1024 * 1024;
const reading: TransferReading = {
  bytes: 420 * MIB,
  total: 1024 * MIB,
  sentBytes: 310 * MIB,
  saved: { held: 0, copied: 110 * MIB },
  sources: { http: 30 * MIB, s3: 390 * MIB },
  retries: 3,
  inFlight: 4,
  share: 0.41,
  rateBytesPerSecond: 85 * MIB,
  etaSeconds: 7.1,
  elapsedSeconds: 5,
  idleSeconds: 0,
  savedBytes: 110 * MIB,
};

describe("progress on a terminal", () => {
  it("has two lines of facts at 80 columns", () => {
    expect(progressLines(reading, "push digits", 79)).toEqual([
      "push digits  █████░░░░░░░░   41 %  420.0 MiB of 1.00 GiB  85.0 MiB/s  ETA 7.1 s",
      "  3 retries  saved 110.0 MiB (copied)  s3 93 %, http 7 %  4 in flight",
    ]);
  });

  it("fits every width, for every label", () => {
    for (const label of ["p", "push digits", "pull ".padEnd(200, "ü")]) {
      for (let width = 1; width <= 200; width++) {
        for (const line of progressLines(reading, label, width)) {
          expect(Array.from(line).length, `${width}: ${line}`).toBeLessThanOrEqual(width);
        }
      }
    }
  });

  it("keeps percent, rate and time where there is room for nothing else", () => {
    expect(progressLines(reading, "push digits", 30)).toEqual([" 41 % 85.0 MiB/s ETA 7.1 s"]);
  });

  it("leaves the last details out, not the first", () => {
    const [, second] = progressLines(reading, "push digits", 50);
    expect(second).toBe("  3 retries  saved 110.0 MiB (copied)  4 in flight");
    expect(progressLines(reading, "push digits", 46)[1]).toBe(
      "  3 retries  saved 110.0 MiB (copied)",
    );
  });

  it("says how long nothing has come, and nothing of what there is none of", () => {
    const {
      saved: _saved,
      sources: _sources,
      retries: _retries,
      inFlight: _inFlight,
      ...bare
    } = reading;
    expect(progressLines({ ...bare, savedBytes: 0 }, "pull", 79)).toHaveLength(1);
    const stalled = { ...bare, savedBytes: 0, idleSeconds: 12, etaSeconds: undefined };
    expect(progressLines(stalled, "pull", 79)).toEqual([
      expect.stringContaining("ETA –"),
      "  nothing for 12.0 s",
    ]);
  });

  it("never says 100 % before it is over", () => {
    expect(progressText({ ...reading, share: 0.9999 }, "push")).toContain(" 99 %");
    expect(progressText({ ...reading, share: 1 }, "push")).toContain("100 %");
  });
});

describe("a finished transfer", () => {
  const base = { name: "digits", artifact: "a1b2c3d4".repeat(8), bytes: 1024 * MIB, seconds: 12.3 };

  it("of a push is one line with what was sent and what was not", () => {
    const saved = { held: 20 * MIB, copied: 690 * MIB, identical: 0 };
    const push = { ...base, verb: "pushed", sentBytes: 310 * MIB, saved, retries: 3 } as const;
    expect(summaryLine(push)).toBe(
      "pushed digits a1b2c3d4 · 1.00 GiB in 12.3 s · 83.3 MiB/s · sent 310.0 MiB, saved 710.0 MiB (held 20.0 MiB, copied 690.0 MiB) · 3 retries",
    );
  });

  it("of a pull names its sources", () => {
    const sources = { s3: 900 * MIB, cache: 124 * MIB, http: 0 };
    expect(summaryLine({ ...base, verb: "pulled", sources, retries: 1 })).toBe(
      "pulled digits a1b2c3d4 · 1.00 GiB in 12.3 s · 83.3 MiB/s · 900.0 MiB from s3, 124.0 MiB from cache · 1 retry",
    );
  });
});

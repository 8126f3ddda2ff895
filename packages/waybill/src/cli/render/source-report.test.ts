import { describe, expect, it } from "vitest";
import { sourceReport } from "./source-report.ts";

describe("why each source was used", () => {
  it("is a row of figures and a sentence for each", () => {
    const text = sourceReport([
      {
        source: "http mirror.example/digits",
        kind: "http",
        cost: "free",
        bytes: 3 * 1024 ** 2,
        share: 0.75,
        bytesPerSecond: 1024 ** 2,
        firstByteMs: 42,
        requests: 7,
        retries: 1,
        badShards: 0,
        hedges: 2,
        hedgesWon: 1,
        wastedBytes: 512,
        window: 4,
        use: "used",
        why: "asked before anything that costs money",
      },
    ]);
    expect(text.split("\n")).toEqual([
      "SOURCE                      BYTES     SHARE  RATE        ANSWER  REQUESTS  RETRIES  HEDGES      WASTED",
      "http mirror.example/digits  3.00 MiB  75 %   1.00 MiB/s  42 ms   7         1        1 of 2 won  512 B",
      "http mirror.example/digits: asked before anything that costs money",
    ]);
  });

  it("says so when there was nothing to fetch", () => {
    expect(sourceReport([])).toMatch(/everything was there/);
  });

  it("does not say that everything was there when the command failed before it knew", () => {
    expect(sourceReport(undefined)).toBe("no source was asked: the command ended before that");
  });
});

import { describe, expect, it } from "vitest";
import { queryOf } from "./model-ls.ts";

const NOW_MS = Date.parse("2026-01-31T12:00:00Z");
const since = (text: string) => queryOf({ since: text }, NOW_MS).since?.toISOString();

describe("the conditions of model ls", () => {
  it("take several metrics, and refuse what cannot be read before anything is asked", () => {
    expect(queryOf({ metric: ["loss<1", "acc>0.5"] }, NOW_MS).metrics).toBe("loss<1,acc>0.5");
    expect(() => queryOf({ metric: ["loss<1", "acc"] }, NOW_MS)).toThrow(
      /--metric "acc": an operator is missing.*character 4/,
    );
    expect(() => queryOf({ metric: ["loss<current"] }, NOW_MS)).toThrow(/compares with numbers/);
  });

  it("take durations, dates and times", () => {
    expect(since("7d")).toBe("2026-01-24T12:00:00.000Z");
    expect(since("2026-01-30")).toBe("2026-01-30T00:00:00.000Z");
    expect(since("2026-01-30T06:30")).toBe("2026-01-30T06:30:00.000Z");
    expect(since("2026-01-30T06:30:00+02:00")).toBe("2026-01-30T04:30:00.000Z");
    for (const wrong of ["", "7", "yesterday", "2026-13-01", "9999999999d"]) {
      expect(() => since(wrong), wrong).toThrow(/is no time/);
    }
  });

  it("sort one way at a time", () => {
    expect(queryOf({ sort: "loss", desc: true }, NOW_MS)).toMatchObject({ order: "desc" });
    expect(() => queryOf({ asc: true, desc: true }, NOW_MS)).toThrow(/exclude/);
  });
});

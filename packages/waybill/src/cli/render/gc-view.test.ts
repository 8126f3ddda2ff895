import type { GcItem, GcKept, GcReport, Retention } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { gcText, gcTotals, rulesText } from "./gc-view.ts";

const MIB = 1024 * 1024;
const rules: Retention = { keep_per_type: 5, per_type: {}, grace_hours: 168 };
const item = (over: Partial<GcItem>): GcItem => ({
  kind: "model",
  name: "aaaaaaaa",
  bytes: MIB,
  why: "5 of type unet are newer, and 5 are kept",
  ...over,
});
const keptOf = (over: Partial<GcKept>): GcKept => ({ ...item({}), why: ["latest-unet"], ...over });
const report = (over: Partial<GcReport>): GcReport => ({
  at: "2026-01-02T03:04:05.678Z",
  rules,
  goes: [],
  kept: [],
  more: false,
  ...over,
});

describe("a collection's report", () => {
  it("tells what leaves the registry from what is freed at once", () => {
    const goes = [item({}), item({ kind: "bytes", bytes: 3 * MIB }), item({ kind: "upload" })];
    expect(gcTotals(report({ goes, kept: [keptOf({}), keptOf({})] }))).toEqual({
      models: { count: 1, bytes: MIB },
      freed: { count: 2, bytes: 4 * MIB },
      kept: { count: 2, bytes: 2 * MIB },
    });
  });

  it("gives every line its size and its reasons", () => {
    const until = "2026-01-09T03:04:05.678Z";
    const goes = [item({ until, modelType: "unet" as never })];
    const kept = [keptOf({ name: "bbbbbbbb", why: ["alias prod", "pinned by ada"] })];
    const text = gcText(report({ goes, kept }), false).join("\n");
    expect(text).toContain("WOULD GO\n  model  aaaaaaaa  unet  1.00 MiB  5 of type unet are newer");
    expect(text).toContain("bbbbbbbb    1.00 MiB  alias prod; pinned by ada");
    expect(text).toContain(
      "would leave the registry: 1 model, 1.00 MiB; restorable until 2026-01-09",
    );
    expect(gcText(report({}), true)).toContain("  nothing");
  });
});

describe("rules", () => {
  it.each([
    [
      { per_type: {}, grace_hours: 168 },
      "everything is kept; what was removed can be restored for 7 days",
    ],
    [
      { ...rules, per_type: { centroid: 3 }, untagged_days: 30, grace_hours: 1 },
      "kept: the 5 newest of each type; of centroid: 3; without people's tags 30 days; what was removed can be restored for 1 hour",
    ],
    [
      { per_type: {}, grace_hours: 90 / 3600 },
      "everything is kept; what was removed can be restored for 1m 30s",
    ],
  ])("%j are said as: %s", (given, text) => {
    expect(rulesText(given)).toBe(text);
  });
});

import type { Alias, AliasRecord, ModelId } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { movedText, whoOf, whyText } from "./alias-view.ts";

const record: AliasRecord = {
  n: 2,
  alias: "prod" as Alias,
  from: "aaaaaaaa" as ModelId,
  to: "bbbbbbbb" as ModelId,
  who: "4f1c2a9b".padEnd(43, "x"),
  by: "ada@desk",
  when: "2026-01-02T03:04:05.678Z",
  why: "better\non night videos",
};

describe("an alias's record", () => {
  it("tells what people call themselves and which key proved it", () => {
    expect(whoOf(record)).toBe("ada@desk (4f1c2a9b)");
    expect(whoOf({ who: "owner" })).toBe("owner");
  });

  it("tells moves, first moves, removals and protection", () => {
    const { from: _, ...first } = record;
    const { to: __, ...removed } = record;
    expect(movedText(record)).toBe("aaaaaaaa → bbbbbbbb");
    expect(movedText(first)).toBe("– → bbbbbbbb");
    expect(movedText(removed)).toBe("aaaaaaaa → –");
    expect(movedText({ ...record, protection: true })).toBe("protected");
    expect(movedText({ ...record, protection: false })).toBe("unprotected");
  });

  it("tells the reason in one line, and the gate with its values", () => {
    const gate = { condition: "loss < current", candidate: 0.1, current: 0.2 };
    expect(whyText(record)).toBe("better on night videos");
    expect(whyText({ ...record, gate })).toBe(
      "better on night videos [loss < current: 0.1000 against 0.2000]",
    );
    expect(whyText({ ...record, why: "loss < current", gate })).toBe(
      "[loss < current: 0.1000 against 0.2000]",
    );
  });
});

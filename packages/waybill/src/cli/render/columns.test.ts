import { describe, expect, it } from "vitest";
import { clipText, factLines, wrapText } from "./columns.ts";

describe("text in columns", () => {
  it("is broken at spaces, but no word is", () => {
    expect(wrapText("one two three\nfour", 8)).toEqual(["one two", "three", "four"]);
    expect(wrapText("a 0123456789 b", 5)).toEqual(["a", "0123456789", "b"]);
  });

  it("puts values beside their names, and below names that are too long", () => {
    const facts = [
      ["id", "3fa94c01"],
      ["gone", undefined],
      ["notes", "two words more"],
      ["a.very.long.name", "1"],
    ] as const;
    expect(factLines(facts, { width: 24, indent: 2 })).toEqual([
      "  id        3fa94c01",
      "  notes     two words",
      "            more",
      "  a.very.long.name",
      "            1",
    ]);
  });

  it("is cut where it may not be broken", () => {
    expect(clipText("abcdef", 4)).toBe("abc…");
    expect(clipText("abcd", 4)).toBe("abcd");
  });
});

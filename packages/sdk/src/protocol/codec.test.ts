import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { decodeJson, decodeValue } from "./codec.ts";

const Point = v.object({ x: v.number(), label: v.object({ text: v.string() }) });

describe("decoding at the edge", () => {
  it("names what was decoded and every field that is wrong", () => {
    expect(() => decodeValue(Point, { x: "1", label: {} }, "the point")).toThrow(
      /the point: x: .*; label\.text: /,
    );
  });

  it("says in words how long a text or a list may be", () => {
    const Short = v.object({
      why: v.pipe(v.string(), v.maxLength(4)),
      tags: v.pipe(v.array(v.string()), v.minLength(1)),
    });
    expect(() => decodeValue(Short, { why: "12345", tags: [] }, "it")).toThrow(
      "it: why: at most 4 characters, not 5; tags: at least 1 items, not 0",
    );
  });

  it("names five wrong fields at most and counts the rest", () => {
    const Many = v.object(
      Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`f${i}`, v.number()])),
    );
    expect(() => decodeValue(Many, {}, "it")).toThrow("(and 3 more)");
  });

  it("refuses what is too long before it parses it, and what is no JSON", () => {
    expect(() => decodeJson(Point, "x".repeat(11), "a body", 10)).toThrow(
      expect.objectContaining({ code: "too_large" }),
    );
    expect(() => decodeJson(Point, "{", "a body", 10)).toThrow(
      expect.objectContaining({ code: "invalid_request" }),
    );
  });
});

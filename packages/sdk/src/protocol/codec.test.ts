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

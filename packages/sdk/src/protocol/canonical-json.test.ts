import { describe, expect, it } from "vitest";
import { canonicalJson } from "./canonical-json.ts";

describe("canonical JSON", () => {
  it("sorts members, leaves out what is undefined, and writes no white space", () => {
    expect(canonicalJson({ b: [1, "ü", null], a: { d: true, c: undefined }, "€": 1e21 })).toBe(
      '{"a":{"d":true},"b":[1,"ü",null],"€":1e+21}',
    );
    expect(canonicalJson({ y: 1, x: 2 })).toBe(canonicalJson({ x: 2, y: 1 }));
  });
});

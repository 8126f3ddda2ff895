import { describe, expect, it } from "vitest";
import { LINE_BYTES, lineOf } from "../trainers/trainer-input.ts";
import { CarriedAnswers, carriedLines, configWith, withConfirmed } from "./adjusted-values.ts";

describe("what a trainer has confirmed", () => {
  it("is the last value of each key that an adjust may ask for", () => {
    const known = withConfirmed(undefined, { lr: 0.1, mode: "a", deep: { x: 1 }, "no key": 1 });
    expect(known).toEqual({ lr: 0.1, mode: "a" });
    expect(withConfirmed(known, { lr: 0.01, off: null })).toEqual({
      mode: "a",
      lr: 0.01,
      off: null,
    });
  });

  it("is the same object when nothing is new", () => {
    const known = { lr: 0.1 };
    expect(withConfirmed(known, { lr: 0.1, other: [] })).toBe(known);
    expect(withConfirmed(undefined, {})).toBeUndefined();
  });

  it("keeps the newest of more keys than a job can have", () => {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i]));
    const kept = Object.keys(withConfirmed({ first: 1 }, many) ?? {});
    expect(kept).toHaveLength(256);
    expect(kept.at(0)).toBe("k44");
  });
});

describe("what a later attempt begins with", () => {
  it("stands in the configuration where the same keys are", () => {
    expect(configWith({ lr: 0.1, epochs: 3 }, { lr: 0.01, other: 1 })).toEqual({
      lr: 0.01,
      epochs: 3,
    });
  });

  it("is told in lines that a trainer's input takes, in the order of the keys", () => {
    const text = "x".repeat(1020);
    const adjusted = { a: text, b: text, c: text, d: text, e: 1 };
    const lines = carriedLines(adjusted);
    expect(lines.map(({ values }) => Object.keys(values))).toEqual([
      ["a", "b", "c"],
      ["d", "e"],
    ]);
    for (const line of lines) expect(lineOf(line).length).toBeLessThanOrEqual(LINE_BYTES);
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, i]));
    expect(carriedLines(many).map(({ values }) => Object.keys(values).length)).toEqual([64, 36]);
  });

  it("is answered by its id, or by the same values; other answers are somebody else's", () => {
    const answers = new CarriedAnswers();
    answers.expect({ lr: 0.1 });
    const withdraw = answers.expect({ b: 2 });
    expect(answers.take({ lr: 0.5 }, undefined)).toBe(false);
    expect(answers.take({ lr: 0.1 }, "c1")).toBe(false);
    expect(answers.take({ lr: 0.1 }, undefined)).toBe(true);
    expect(answers.take({ lr: 0.1 }, undefined)).toBe(false);
    withdraw();
    expect(answers.take({ b: 2 }, "adjusted")).toBe(false);
    answers.expect({ c: 3 });
    expect(answers.take({ c: "no" }, "adjusted")).toBe(true);
  });
});

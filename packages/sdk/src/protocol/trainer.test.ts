import { describe, expect, it } from "vitest";
import { parseTrainerLine } from "./trainer.ts";

describe("a trainer's line", () => {
  it("is a metric when it is an object with a number and no type; every key stays", () => {
    const data = { epoch: 1, loss: 0.5, note: "as printed", nested: { a: [1] } };
    expect(parseTrainerLine(JSON.stringify(data))).toEqual({ kind: "metric", data });
    expect(parseTrainerLine('  {"type":"metric","x":"no number"}  ')).toMatchObject({
      kind: "metric",
    });
  });

  it("is a metric when its only values are the numbers JSON has no words for", () => {
    for (const loss of ["NaN", "Infinity", "-Infinity"]) {
      expect(parseTrainerLine(JSON.stringify({ loss }))).toMatchObject({ kind: "metric" });
    }
  });

  it("says Infinity of a number too great for a double, which would be written on as null", () => {
    const data = { loss: "Infinity", low: ["-Infinity"], big: 1e300, digits: "Infinity" };
    const line = `{"loss": 1e999, "low": [-1E+400], "big": 1e300, "digits": ${"9".repeat(310)}}`;
    expect(parseTrainerLine(line)).toEqual({ kind: "metric", data });
  });

  it("has predictions when it has nothing else", () => {
    const rows = [{ x: 1 }, "any"];
    const predictions = { kind: "predictions", rows };
    expect(parseTrainerLine(JSON.stringify({ predictions: rows }))).toEqual(predictions);
    expect(parseTrainerLine(JSON.stringify({ type: "predictions", predictions: rows }))).toEqual(
      predictions,
    );
    const data = { loss: 0.5, predictions: rows };
    expect(parseTrainerLine(JSON.stringify(data))).toEqual({ kind: "metric", data });
    expect(parseTrainerLine('{"predictions": 3}')).toMatchObject({ kind: "metric" });
  });

  it("names samples, checkpoints and results", () => {
    expect(parseTrainerLine('{"type":"sample","file":"a.png"}')).toMatchObject({
      kind: "sample",
      file: "a.png",
    });
    expect(parseTrainerLine('{"type":"checkpoint","path":"w.bin"}')).toMatchObject({
      kind: "checkpoint",
      path: "w.bin",
    });
    expect(parseTrainerLine('{"type":"result","loss":1}')).toMatchObject({ kind: "result" });
  });

  it("is log when it only resembles a message", () => {
    const logs = [
      "",
      "text",
      "{",
      "{}",
      '{"a":"b"}',
      "[1]",
      '{"type":"sample"}',
      '{"type":"other","a":1}',
      "{'a': 1}",
      "null",
    ];
    for (const line of logs) expect(parseTrainerLine(line)).toEqual({ kind: "log", line });
  });

  it("has the keys that its event has wherever it is read", () => {
    const special = '"constructor":1,"prototype":2,"__proto__":{"a":1}';
    expect(parseTrainerLine(`{"loss":0.5,${special}}`)).toEqual({
      kind: "metric",
      data: { loss: 0.5 },
    });
    expect(parseTrainerLine(`{"adjusted":{"lr":0.1,${special}}}`)).toMatchObject({
      data: { lr: 0.1 },
    });
    expect(parseTrainerLine(`{${special}}`).kind).toBe("log");
  });
});

import { array, assert, integer, property, uint8Array } from "fast-check";
import { describe, expect, it } from "vitest";
import { LineSplitter, type OutputLine } from "./line-splitter.ts";

function split(chunks: readonly (string | Uint8Array)[], maxBytes = 64): OutputLine[] {
  const splitter = new LineSplitter(maxBytes);
  const lines = chunks.flatMap((chunk) => splitter.push(Buffer.from(chunk as string)));
  return [...lines, ...splitter.end()];
}

const texts = (lines: readonly OutputLine[]) => lines.map(({ text }) => text);

describe("lines of a trainer's output", () => {
  it("joins lines that come in pieces", () => {
    expect(texts(split(["a", "b\nc", "d\n"]))).toEqual(["ab", "cd"]);
  });

  it("keeps a last line without an end, and empty lines", () => {
    expect(texts(split(["a\n\nb"]))).toEqual(["a", "", "b"]);
  });

  it("takes CRLF as one end, also when it comes in two pieces", () => {
    expect(split(["a\r\nb\r", "\nc\n"])).toEqual(
      ["a", "b", "c"].map((text) => ({ text, cut: false, transient: false })),
    );
  });

  it("marks what a lone CR ends as replaced by the next", () => {
    expect(split(["10%\r20%\r", "30%\rdone\n"])).toMatchObject([
      { text: "10%", transient: true },
      { text: "20%", transient: true },
      { text: "30%", transient: true },
      { text: "done", transient: false },
    ]);
  });

  it("shows invalid UTF-8 as U+FFFD and keeps the line's end", () => {
    expect(texts(split([new Uint8Array([0x61, 0xff, 0xe2, 0x82, 0x0a, 0x62, 0x0a])]))).toEqual([
      "a\uFFFD\uFFFD",
      "b",
    ]);
  });

  it("joins a character that comes in two pieces", () => {
    const bytes = Buffer.from("é\n");
    expect(texts(split([bytes.subarray(0, 1), bytes.subarray(1)]))).toEqual(["é"]);
  });

  it("cuts a long line, within a chunk or over many, and goes on after its end", () => {
    const long = "x".repeat(1000);
    expect(split([`${long}\nnext\n`])).toMatchObject([
      { text: "x".repeat(64), cut: true },
      { text: "next", cut: false },
    ]);
    expect(split([long, long, `${long}\nnext\n`])).toMatchObject([
      { text: "x".repeat(64), cut: true },
      { text: "next", cut: false },
    ]);
  });

  it("cuts between characters", () => {
    expect(texts(split([`${"é".repeat(40)}\n`], 33))).toEqual(["é".repeat(16)]);
  });

  it("gives the same lines however the bytes are cut into chunks", () => {
    const byte = integer({ min: 0, max: 7 });
    const letters = [0x61, 0x0a, 0x0d, 0xc3, 0xa9, 0xff, 0x62, 0x0a];
    assert(
      property(array(byte, { maxLength: 60 }), uint8Array({ maxLength: 8 }), (picks, cuts) => {
        const bytes = Buffer.from(picks.map((pick) => letters[pick] ?? 0));
        const chunks: Uint8Array[] = [];
        let from = 0;
        for (const cut of cuts) {
          chunks.push(bytes.subarray(from, from + (cut % 16)));
          from += cut % 16;
        }
        chunks.push(bytes.subarray(from));
        expect(split(chunks, 1000)).toEqual(split([bytes], 1000));
      }),
    );
  });
});

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CsvRecords } from "./csv-records.ts";

function read(...texts: string[]): string[][] {
  const records = new CsvRecords();
  return [...texts.flatMap((text) => records.push(text)), ...records.end()];
}

const quote = (cell: string) => `"${cell.replaceAll('"', '""')}"`;

describe("records of a CSV file", () => {
  it("end with LF, CRLF or CR; a last one without an end counts at the end", () => {
    expect(read("a,b\n1,2\r\n3,4\r5,6")).toEqual([
      ["a", "b"],
      ["1", "2"],
      ["3", "4"],
      ["5", "6"],
    ]);
    expect(new CsvRecords().push("a,b\n1,2")).toEqual([["a", "b"]]);
  });

  it("hold commas, quotes and line ends in quoted cells", () => {
    expect(read('x,"a, ""b""\nc",\n')).toEqual([["x", 'a, "b"\nc', ""]]);
  });

  it("are none where a line is empty or a quoted cell was torn", () => {
    expect(read('\n\na,b\n\n1,"2')).toEqual([["a", "b"]]);
  });

  it("are the same however the text is cut", () => {
    const cell = fc.string({ unit: fc.constantFrom("a", '"', ",", "\n", "\r", "é", "1") });
    fc.assert(
      fc.property(
        fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { maxLength: 5 }),
        fc.constantFrom("\n", "\r\n"),
        fc.array(fc.nat(200)),
        (wanted, end, cuts) => {
          const text = wanted.map((record) => record.map(quote).join(",") + end).join("");
          const ends = [...cuts.sort((a, b) => a - b), text.length];
          expect(read(...ends.map((to, i) => text.slice(ends[i - 1] ?? 0, to)))).toEqual(wanted);
        },
      ),
    );
  });

  it("of more than a megabyte are refused", () => {
    const records = new CsvRecords();
    expect(() => records.push("x".repeat(1024 * 1024 + 1))).toThrow(RangeError);
  });
});

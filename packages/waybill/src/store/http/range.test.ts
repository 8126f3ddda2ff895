import { expect, test } from "vitest";
import { resolveCopyRange, resolveRange } from "./range.ts";

test.each([
  ["bytes=0-0", { start: 0, bytes: 1 }],
  ["bytes=0-9", { start: 0, bytes: 10 }],
  ["bytes=5-", { start: 5, bytes: 5 }],
  ["bytes=5-500", { start: 5, bytes: 5 }],
  ["bytes=-3", { start: 7, bytes: 3 }],
  ["bytes=-30", { start: 0, bytes: 10 }],
])("resolves %s of ten bytes", (header, expected) => {
  expect(resolveRange(header, 10)).toEqual(expected);
});

test.each([
  [undefined],
  ["bytes=-"],
  ["bytes=0-1,3-4"],
  ["bytes=5-4"],
  ["bytes=a-b"],
  ["bytes= 0-1"],
  ["items=0-1"],
])("takes %s to mean the whole object", (header) => {
  expect(resolveRange(header, 10)).toBeUndefined();
});

test.each([
  ["bytes=10-", 10],
  ["bytes=10-20", 10],
  ["bytes=-0", 10],
  ["bytes=0-0", 0],
  ["bytes=0-", 0],
])("finds %s of %i bytes unsatisfiable", (header, size) => {
  expect(() => resolveRange(header, size)).toThrow(
    expect.objectContaining({
      code: "InvalidRange",
      headers: { "content-range": `bytes */${size}` },
    }),
  );
});

test("answers the last bytes of an empty object with the empty object", () => {
  expect(resolveRange("bytes=-5", 0)).toBeUndefined();
});

test("resolves a copy range within its source, and no other", () => {
  expect(resolveCopyRange("bytes=2-5", 10)).toEqual({ start: 2, bytes: 4 });
  for (const header of ["bytes=2-", "bytes=-2", "2-5", "bytes=5-2", "bytes=2-10"]) {
    expect(() => resolveCopyRange(header, 10)).toThrow(
      expect.objectContaining({ code: "InvalidArgument" }),
    );
  }
});

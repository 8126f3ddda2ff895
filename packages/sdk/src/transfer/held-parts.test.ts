import { describe, expect, it } from "vitest";
import { ObjectProgress, decodeValue } from "../protocol/index.ts";
import { heldObject } from "./held-parts.ts";

const MIB = 1024 * 1024;

function progress(more: object): ObjectProgress {
  const usual = { key: "x", size: 20 * MIB, done: false, parts: [] };
  return decodeValue(ObjectProgress, { ...usual, ...more }, "progress");
}

describe("what is held of an object", () => {
  it("is its parts, by number", () => {
    const part = { part: 6, size: 5 * MIB, crc32: "AAAAAA==" };
    const held = heldObject(progress({ parts: [part] }));
    expect(held).toMatchObject({ joined: false });
    expect([...held.parts]).toEqual([[6, part]]);
  });

  it("is a body that was put at once, with what names it", () => {
    const more = { size: 10, done: true, crc32: "AAAAAA==", storedBytes: 10, etag: '"e"' };
    expect(heldObject(progress(more)).whole).toEqual({ size: 10, crc32: "AAAAAA==", etag: '"e"' });
  });

  it("is all of it when a completion that was cut off had joined it", () => {
    expect(heldObject(progress({ done: true }))).toMatchObject({ joined: true, comparable: false });
    const known = progress({ done: true, crc32: "AAAAAA==", etag: '"e"' });
    expect(heldObject(known)).toMatchObject({ joined: true, comparable: true });
  });
});

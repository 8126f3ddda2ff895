import { expect, test } from "vitest";
import { checkWrite, holdsForRead, matchesEtag } from "./conditions.ts";

const object = { etag: "abc", modified: Date.parse("2026-01-02T03:04:05.678Z") };
const none = {
  ifMatch: undefined,
  ifNoneMatch: undefined,
  ifModifiedSince: undefined,
  ifUnmodifiedSince: undefined,
};
const same = "Fri, 02 Jan 2026 03:04:05 GMT";
const earlier = "Fri, 02 Jan 2026 03:04:04 GMT";

test("reads without conditions always", () => {
  expect(holdsForRead(none, object)).toBe(true);
});

test("answers 304 when the client has this ETag or nothing newer", () => {
  expect(holdsForRead({ ...none, ifNoneMatch: '"abc"' }, object)).toBe(false);
  expect(holdsForRead({ ...none, ifModifiedSince: same }, object)).toBe(false);
  expect(holdsForRead({ ...none, ifModifiedSince: earlier }, object)).toBe(true);
});

test("fails when another ETag is demanded or the object is newer", () => {
  for (const conditions of [{ ifMatch: '"xyz"' }, { ifUnmodifiedSince: earlier }]) {
    expect(() => holdsForRead({ ...none, ...conditions }, object)).toThrow(
      expect.objectContaining({ code: "PreconditionFailed" }),
    );
  }
});

test("lets ETags outrank dates", () => {
  expect(holdsForRead({ ...none, ifMatch: "abc", ifUnmodifiedSince: earlier }, object)).toBe(true);
  expect(holdsForRead({ ...none, ifNoneMatch: '"x"', ifModifiedSince: same }, object)).toBe(true);
});

test("matches quoted, bare, weak and listed ETags, and the star", () => {
  for (const list of ['"abc"', "abc", 'W/"abc"', '"x", "abc"', "*"]) {
    expect(matchesEtag(list, "abc")).toBe(true);
  }
  expect(matchesEtag('"ab"', "abc")).toBe(false);
});

test("creates only where nothing is", () => {
  const condition = { ifMatch: undefined, createOnly: true };
  expect(() => checkWrite(condition, "k", undefined)).not.toThrow();
  expect(() => checkWrite(condition, "k", object)).toThrow(
    expect.objectContaining({ code: "PreconditionFailed" }),
  );
});

test("replaces only what was seen", () => {
  const condition = { ifMatch: '"abc"', createOnly: false };
  expect(() => checkWrite(condition, "k", object)).not.toThrow();
  expect(() => checkWrite(condition, "k", { etag: "new" })).toThrow(
    expect.objectContaining({ code: "PreconditionFailed" }),
  );
  expect(() => checkWrite(condition, "k", undefined)).toThrow(
    expect.objectContaining({ code: "NoSuchKey" }),
  );
});

test("calls it a conflict when the object vanished during the request", () => {
  const condition = { ifMatch: '"abc"', createOnly: false };
  expect(() => checkWrite(condition, "k", undefined, true)).toThrow(
    expect.objectContaining({ code: "ConditionalRequestConflict" }),
  );
});

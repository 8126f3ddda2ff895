import { expect, test } from "vitest";
import { parseQuery, parseTarget } from "./target.ts";

test.each([
  ["/", undefined, undefined],
  ["/bucket", "bucket", undefined],
  ["/bucket/", "bucket", undefined],
  ["/bucket/key", "bucket", "key"],
  ["/bucket//key/", "bucket", "/key/"],
  ["/bucket/a/../../b", "bucket", "a/../../b"],
  ["/bucket/a%2Fb%20c+d", "bucket", "a/b c+d"],
  ["http://proxy.example:80/bucket/key", "bucket", "key"],
])("reads %s", (url, bucket, key) => {
  expect(parseTarget(url, "127.0.0.1:8700")).toMatchObject({ bucket, key });
});

test("reads the bucket from the host name below localhost", () => {
  expect(parseTarget("/a/b", "bucket.localhost:8700")).toMatchObject({
    path: "/a/b",
    bucket: "bucket",
    key: "a/b",
  });
  expect(parseTarget("/", "bucket.localhost")).toMatchObject({ bucket: "bucket", key: undefined });
});

test("reads names without values, plus signs and escapes in a query", () => {
  expect(parseQuery("uploads&prefix=a+b%2Bc&empty=")).toEqual([
    ["uploads", ""],
    ["prefix", "a b+c"],
    ["empty", ""],
  ]);
});

test("refuses escapes that are not UTF-8", () => {
  expect(() => parseTarget("/bucket/%ff", "")).toThrow(
    expect.objectContaining({ code: "InvalidURI" }),
  );
});

import { expect, test } from "vitest";
import {
  ALGORITHM,
  canonicalRequestHash,
  EMPTY_SHA256,
  encodeComponent,
  formatAmzTime,
  parseAmzTime,
  sameSignature,
  sign,
  signingKey,
  stringToSign,
  type SignedRequest,
} from "./canonical.ts";

// The examples of "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference.
const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TIME = "20130524T000000Z";
const SCOPE = { date: "20130524", region: "us-east-1", service: "s3" };
const HOST = ["host", "examplebucket.s3.amazonaws.com"] as const;
const DATE = ["x-amz-date", TIME] as const;

function signature(request: SignedRequest): string {
  const key = signingKey(SECRET, SCOPE);
  return sign(key, stringToSign(TIME, SCOPE, canonicalRequestHash(request)));
}

test("signs AWS's example of a ranged GET", () => {
  const request: SignedRequest = {
    method: "GET",
    path: "/test.txt",
    query: [],
    headers: [HOST, ["Range", "bytes=0-9"], ["x-amz-content-sha256", EMPTY_SHA256], DATE],
    signedHeaders: ["host", "range", "x-amz-content-sha256", "x-amz-date"],
    payload: EMPTY_SHA256,
  };
  expect(signature(request)).toBe(
    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  );
});

test("signs AWS's example of a PUT whose key needs encoding", () => {
  const payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
  const request: SignedRequest = {
    method: "PUT",
    path: "/test$file.text",
    query: [],
    headers: [
      HOST,
      ["Date", "Fri, 24 May 2013 00:00:00 GMT"],
      DATE,
      ["x-amz-storage-class", "REDUCED_REDUNDANCY"],
      ["x-amz-content-sha256", payload],
    ],
    signedHeaders: ["date", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-storage-class"],
    payload,
  };
  expect(signature(request)).toBe(
    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  );
});

test("signs AWS's example of a sub-resource without a value", () => {
  const request: SignedRequest = {
    method: "GET",
    path: "/",
    query: [["lifecycle", ""]],
    headers: [HOST, ["x-amz-content-sha256", EMPTY_SHA256], DATE],
    signedHeaders: ["host", "x-amz-content-sha256", "x-amz-date"],
    payload: EMPTY_SHA256,
  };
  expect(signature(request)).toBe(
    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  );
});

test("signs AWS's example of a listing", () => {
  const request: SignedRequest = {
    method: "GET",
    path: "/",
    query: [
      ["prefix", "J"],
      ["max-keys", "2"],
    ],
    headers: [HOST, ["x-amz-content-sha256", EMPTY_SHA256], DATE],
    signedHeaders: ["host", "x-amz-content-sha256", "x-amz-date"],
    payload: EMPTY_SHA256,
  };
  expect(signature(request)).toBe(
    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  );
});

test("signs AWS's example of a presigned URL", () => {
  const request: SignedRequest = {
    method: "GET",
    path: "/test.txt",
    query: [
      ["X-Amz-Algorithm", ALGORITHM],
      ["X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"],
      ["X-Amz-Date", TIME],
      ["X-Amz-Expires", "86400"],
      ["X-Amz-SignedHeaders", "host"],
    ],
    headers: [HOST],
    signedHeaders: ["host"],
    payload: "UNSIGNED-PAYLOAD",
  };
  expect(signature(request)).toBe(
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
  );
});

test("joins repeated headers with commas and folds runs of spaces", () => {
  const base: SignedRequest = {
    method: "GET",
    path: "/",
    query: [],
    headers: [["x-amz-meta-a", "one,two words"]],
    signedHeaders: ["x-amz-meta-a"],
    payload: EMPTY_SHA256,
  };
  const repeated: SignedRequest = {
    ...base,
    headers: [
      ["X-Amz-Meta-A", " one "],
      ["x-amz-meta-a", "two   words"],
    ],
  };
  expect(canonicalRequestHash(repeated)).toBe(canonicalRequestHash(base));
});

test("encodes everything but unreserved characters", () => {
  expect(encodeComponent("a b+c/d~e_(f)*'ü")).toBe("a%20b%2Bc%2Fd~e_%28f%29%2A%27%C3%BC");
});

test("reads back the times it writes, and refuses others", () => {
  expect(parseAmzTime(formatAmzTime(1_369_353_600_000))).toBe(1_369_353_600_000);
  expect(parseAmzTime("2013-05-24T00:00:00Z")).toBeUndefined();
  expect(parseAmzTime("20130524T250000Z")).toBeUndefined();
});

test("tells signatures apart, whatever their length", () => {
  expect(sameSignature("abc", "abc")).toBe(true);
  expect(sameSignature("abc", "abd")).toBe(false);
  expect(sameSignature("abc", "abcd")).toBe(false);
});

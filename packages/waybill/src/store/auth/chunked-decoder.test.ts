import { expect, test } from "vitest";
import { scopeText, signingKey } from "./canonical.ts";
import { ChunkedDecoder, type ChunkedDecoderInit } from "./chunked-decoder.ts";

// AWS's example of a chunked upload: 65 KiB of "a" in chunks of 64 KiB, 1 KiB and nothing.
const scope = { date: "20130524", region: "us-east-1", service: "s3" };
const key = signingKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", scope);
const signing = { key, time: "20130524T000000Z", scope: scopeText(scope) };
const plainSeed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
const trailerSeed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";

function chunk(size: number, signature: string): string {
  return `${size.toString(16)};chunk-signature=${signature}\r\n${"a".repeat(size)}\r\n`;
}

const plainBody =
  chunk(65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648") +
  chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497") +
  chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");

const trailerBody = `${
  chunk(65_536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2") +
  chunk(1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7")
}0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\nx-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n`;

function decode(
  body: string,
  init: Partial<ChunkedDecoderInit>,
  step = 1 << 20,
): { data: string; trailers: ReadonlyMap<string, string> } {
  const decoder = new ChunkedDecoder({
    signing: undefined,
    signedTrailer: false,
    trailerName: undefined,
    ...init,
  });
  const bytes = Buffer.from(body, "latin1");
  let data = "";
  for (let at = 0; at < bytes.length; at += step) {
    for (const piece of decoder.push(bytes.subarray(at, at + step))) data += piece.toString();
  }
  return { data, trailers: decoder.finish() };
}

test.each([1, 7, 1000, 65_540, 1 << 20])(
  "accepts AWS's signed example, %i bytes at a time",
  (step) => {
    const { data } = decode(plainBody, { signing: { ...signing, seed: plainSeed } }, step);
    expect(data).toBe("a".repeat(66_560));
  },
);

test("accepts AWS's signed example with a trailing checksum", () => {
  const { data, trailers } = decode(trailerBody, {
    signing: { ...signing, seed: trailerSeed },
    signedTrailer: true,
    trailerName: "x-amz-checksum-crc32c",
  });
  expect(data).toHaveLength(66_560);
  expect(trailers.get("x-amz-checksum-crc32c")).toBe("sOO8/Q==");
});

test("refuses a chunk whose bytes were changed", () => {
  const body = plainBody.replace("aaab6c6", "aaab6c6").replace("\r\na", "\r\nb");
  expect(() => decode(body, { signing: { ...signing, seed: plainSeed } })).toThrow(/signature/);
});

test("refuses chunks in another order, because each signs the one before", () => {
  expect(() => decode(plainBody, { signing: { ...signing, seed: trailerSeed } })).toThrow(
    /signature/,
  );
});

test("refuses a trailer whose signature is wrong", () => {
  const body = trailerBody.replace("sOO8/Q==", "sOO8/A==");
  const init = {
    signing: { ...signing, seed: trailerSeed },
    signedTrailer: true,
    trailerName: "x-amz-checksum-crc32c",
  };
  expect(() => decode(body, init)).toThrow(/signature/);
});

test("reads an unsigned body with a trailer", () => {
  const body = "5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:abc=\r\n\r\n";
  const { data, trailers } = decode(body, { trailerName: "x-amz-checksum-crc32" }, 3);
  expect(data).toBe("hello world");
  expect([...trailers]).toEqual([["x-amz-checksum-crc32", "abc="]]);
});

test.each([
  ["ends before the last chunk", "5\r\nhello\r\n"],
  ["ends inside a chunk", "5\r\nhel"],
  ["has a size that is none", "x\r\nhello\r\n0\r\n\r\n"],
  ["has a chunk longer than its size", "4\r\nhello\r\n0\r\n\r\n"],
  ["lacks the empty line at its end", "5\r\nhello\r\n0\r\n"],
  ["has a line without end", "5".repeat(5000)],
])("refuses a body that %s", (_, body) => {
  expect(() => decode(body, {})).toThrow(expect.objectContaining({ code: "IncompleteBody" }));
});

test.each([
  ["was not announced", undefined, "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:abc=\r\n\r\n"],
  ["was announced but did not come", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n\r\n"],
])("refuses a trailer that %s", (_, trailerName, body) => {
  expect(() => decode(body, { trailerName })).toThrow(
    expect.objectContaining({ code: "MalformedTrailerError" }),
  );
});

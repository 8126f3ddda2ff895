import { describe, expect, it } from "vitest";
import * as browserCrc from "./crc32.browser.ts";
import * as nodeCrc from "./crc32.node.ts";
import * as browser from "./hash.browser.ts";
import * as node from "./hash.node.ts";

/** Input of the official BLAKE3 test vectors: bytes 0, 1, … 250, 0, 1, … */
function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at % 251);
}

/** github.com/BLAKE3-team/BLAKE3, test_vectors.json: the first 32 bytes of `hash`. */
const VECTORS: readonly (readonly [number, string])[] = [
  [0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"],
  [1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"],
  [1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"],
  [1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"],
];

describe.each([
  ["Node", node],
  ["browsers", browser],
])("BLAKE3 in %s", (_, { blake3Hex, createHasher }) => {
  it.each(VECTORS)("of %i bytes is the published one", (length, digest) => {
    expect(blake3Hex(counting(length))).toBe(digest);
    expect(createHasher().update(counting(length)).digestHex()).toBe(digest);
  });

  it("gives the same digest for a message in pieces as for the whole", () => {
    const message = counting(3_000_000);
    const hasher = createHasher();
    for (let at = 0, step = 1; at < message.length; at += step, step = step * 3 + 1) {
      hasher.update(message.subarray(at, at + step));
    }
    expect(hasher.digestHex()).toBe(node.blake3Hex(message));
  });

  it("begins a new message after a reset", () => {
    const hasher = createHasher();
    hasher.update(counting(5000)).digestHex();
    expect(hasher.reset().update(counting(1)).digestHex()).toBe(VECTORS[1]?.[1]);
  });
});

describe.each([
  ["Node", nodeCrc],
  ["browsers", browserCrc],
])("CRC-32 in %s", (_, { crc32 }) => {
  it("of 123456789 is the published check value", () => {
    expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcb_f4_39_26);
  });

  it("goes on from the sum of what came before, at any length and alignment", () => {
    const message = counting(1000);
    const whole = nodeCrc.crc32(message);
    for (let cut = 0; cut <= 40; cut++) {
      const sum = crc32(message.subarray(cut), crc32(message.subarray(0, cut)));
      expect(sum).toBe(whole);
    }
  });
});

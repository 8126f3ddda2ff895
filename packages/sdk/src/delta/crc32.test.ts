import { crc32 } from "node:zlib";
import { assert, integer, property, uint8Array } from "fast-check";
import { describe, expect, it } from "vitest";
import { RollingCrc32, WeakSums, crc32Appender, crc32Combine } from "./index.ts";

const bytes = uint8Array({ maxLength: 300 });

describe("CRC-32s of two messages", () => {
  it("combine to that of both end to end", () => {
    assert(
      property(bytes, bytes, (a, b) => {
        const whole = crc32(b, crc32(a));
        expect(crc32Combine(crc32(a), crc32(b), b.length)).toBe(whole);
        expect(crc32Appender(b.length)(crc32(a), crc32(b))).toBe(whole);
      }),
    );
  });

  it("combine at lengths beyond 2^32", () => {
    // Appending n zeros twice is appending 2n.
    const lengths = integer({ min: 0, max: 2 ** 51 });
    assert(
      property(integer({ min: 0, max: 2 ** 32 - 1 }), lengths, (crc, length) => {
        const twice = crc32Combine(crc32Combine(crc, 0, length), 0, length);
        expect(crc32Combine(crc, 0, 2 * length)).toBe(twice);
      }),
    );
  });

  it("combine part by part to that of a whole file", () => {
    const file = Uint8Array.from({ length: 100_000 }, (_, at) => (at * at) >>> 3);
    const append = crc32Appender(4096);
    let sum = crc32(file.subarray(0, 4096));
    let at = 4096;
    for (; at + 4096 <= file.length; at += 4096) {
      sum = append(sum, crc32(file.subarray(at, at + 4096)));
    }
    sum = crc32Combine(sum, crc32(file.subarray(at)), file.length - at);
    expect(sum).toBe(crc32(file));
  });
});

describe("a rolling CRC-32", () => {
  it("is that of its window at every place", () => {
    const shape = uint8Array({ minLength: 1, maxLength: 200 });
    assert(
      property(shape, integer({ min: 1, max: 64 }), (message, windowBytes) => {
        if (windowBytes > message.length) return;
        const rolling = new RollingCrc32(windowBytes);
        const none = new WeakSums([]);
        rolling.start(message, 0);
        for (let at = 0; ; at++) {
          expect(rolling.crc32).toBe(crc32(message.subarray(at, at + windowBytes)));
          if (at + windowBytes === message.length) break;
          expect(rolling.roll(message, at, 1, none)).toBe(1);
        }
      }),
    );
  });

  it("stops where its sum is wanted, and nowhere else", () => {
    const message = Uint8Array.from({ length: 50_000 }, (_, at) => (at * 2654435761) >>> 13);
    const at = 31_337;
    const rolling = new RollingCrc32(1024);
    const wanted = new WeakSums([crc32(message.subarray(at, at + 1024)), 1, 2, 3]);
    rolling.start(message, 0);
    expect(rolling.roll(message, 0, message.length - 1024, wanted)).toBe(at);
    expect(rolling.roll(message, at, message.length - 1024 - at, wanted)).toBe(
      message.length - 1024 - at,
    );
  });
});

describe("a set of weak sums", () => {
  it("holds what was put into it, zero and its inverse included, and nothing else", () => {
    assert(
      property(uint8Array({ maxLength: 400 }), (seeds) => {
        const sums = [...new Set([...seeds].map((seed) => crc32(Uint8Array.of(seed))))];
        const edge = [0, 0xffffffff];
        const set = new WeakSums([...sums, ...edge, ...sums]);
        expect(set.count).toBe(new Set([...sums, ...edge]).size);
        for (const sum of [...sums, ...edge]) expect(set.has(sum)).toBe(true);
        for (let other = 256; other < 300; other++) {
          expect(set.has(crc32(Uint8Array.of(other & 255, other >>> 8)))).toBe(false);
        }
        expect(new WeakSums(sums).has(0)).toBe(false);
      }),
    );
  });
});

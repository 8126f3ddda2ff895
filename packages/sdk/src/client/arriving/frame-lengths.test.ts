import { randomBytes } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { frameLengths } from "./frame-lengths.ts";

const checksum = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };
const text = Buffer.from("all work and no play ".repeat(20_000));
const frames = [
  zstdCompressSync(text),
  zstdCompressSync(randomBytes(300_000)),
  zstdCompressSync(Buffer.alloc(1_000_000)),
  zstdCompressSync(Buffer.from("x")),
  zstdCompressSync(text, checksum),
];

describe("zstd frames end to end", () => {
  it("end where their last blocks do", () => {
    const lengths = frames.map(({ length }) => length);
    expect(frameLengths(Buffer.concat(frames))).toEqual(lengths);
    expect(frameLengths(new Uint8Array())).toEqual([]);
  });

  it.each([
    ["are cut off", Buffer.concat(frames).subarray(0, -1)],
    ["are cut off in a header", Buffer.concat(frames).subarray(0, (frames[0]?.length ?? 0) + 3)],
    ["begin with something else", Buffer.concat([Buffer.from("nothing"), ...frames])],
    ["end with something else", Buffer.concat([...frames, Buffer.from([0])])],
  ])("are refused when they %s", (_, bytes) => {
    expect(() => frameLengths(bytes)).toThrow(/whole zstd frames/);
  });
});

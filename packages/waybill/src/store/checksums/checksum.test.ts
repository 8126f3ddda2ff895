import * as fc from "fast-check";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import {
  allowsChecksumType,
  assembleChecksum,
  createChecksum,
  isChecksumValue,
  parseChecksumAlgorithm,
  type ChecksumAlgorithm,
} from "./checksum.ts";
import { combineCrcs, type CombinableCrc } from "./crc-combine.ts";

async function digest(algorithm: ChecksumAlgorithm, ...pieces: Uint8Array[]): Promise<Buffer> {
  const running = await createChecksum(algorithm);
  for (const piece of pieces) running.update(piece);
  return running.digest();
}

// "Check" values of the CRC catalogue and of the xxHash reference, for the text 123456789.
test.each([
  ["CRC32", "cbf43926"],
  ["CRC32C", "e3069283"],
  ["CRC64NVME", "ae8b14860a799888"],
  ["MD5", "25f9e794323b453885f5181f1b624d0b"],
  ["SHA1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"],
  ["XXHASH64", "8cb841db40e6ae83"],
] as const)("computes the check value of %s", async (algorithm, expected) => {
  const value = await digest(algorithm, Buffer.from("123456789"));
  expect(value.toString("hex")).toBe(expected);
});

test("gives the same digest however the bytes are cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<ChecksumAlgorithm>("CRC32", "CRC32C", "CRC64NVME", "SHA256", "XXHASH3"),
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }),
      async (algorithm, pieces) => {
        const whole = await digest(algorithm, Buffer.concat(pieces));
        expect(await digest(algorithm, ...pieces)).toEqual(whole);
      },
    ),
    { numRuns: 60 },
  );
});

test("keeps digests that run at the same time apart", async () => {
  const [a, b] = await Promise.all([createChecksum("CRC32C"), createChecksum("CRC32C")]);
  a.update(Buffer.from("12345"));
  b.update(Buffer.from("other"));
  a.update(Buffer.from("6789"));
  expect(a.digest().toString("hex")).toBe("e3069283");
  expect(b.digest()).toEqual(await digest("CRC32C", Buffer.from("other")));
});

test("combines CRCs of pieces into the CRC of the whole", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<CombinableCrc>("CRC32", "CRC32C", "CRC64NVME"),
      fc.array(fc.uint8Array({ maxLength: 100 }), { minLength: 1, maxLength: 5 }),
      async (algorithm, pieces) => {
        const parts = await Promise.all(
          pieces.map(async (piece) => ({
            crc: await digest(algorithm, piece),
            bytes: piece.length,
          })),
        );
        expect(combineCrcs(algorithm, parts)).toEqual(
          await digest(algorithm, Buffer.concat(pieces)),
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("writes a composite checksum as the hash of the parts' hashes and their number", async () => {
  const parts = [Buffer.from("one"), Buffer.from("two")].map((data) => {
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE(crc32(data));
    return { value: crc.toString("base64"), bytes: data.length };
  });
  const concatenated = Buffer.concat(parts.map((part) => Buffer.from(part.value, "base64")));
  const { type, value } = await assembleChecksum("CRC32", "COMPOSITE", parts);
  expect(type).toBe("COMPOSITE");
  expect(value).toBe(`${(await digest("CRC32", concatenated)).toString("base64")}-2`);
});

test("knows algorithms in any case, and only those of S3", () => {
  expect(parseChecksumAlgorithm("crc32c")).toBe("CRC32C");
  expect(parseChecksumAlgorithm("crc16")).toBeUndefined();
});

test("takes base64 of the right length only", () => {
  expect(isChecksumValue("CRC32", "NhCmhg==")).toBe(true);
  expect(isChecksumValue("CRC32", "NhCmhg")).toBe(false);
  expect(isChecksumValue("CRC32", "NhCmhgAA")).toBe(false);
});

test("allows only CRCs for a full object and never CRC64NVME as composite", () => {
  expect(allowsChecksumType("CRC64NVME", "COMPOSITE")).toBe(false);
  expect(allowsChecksumType("SHA256", "FULL_OBJECT")).toBe(false);
  expect(allowsChecksumType("CRC32", "FULL_OBJECT")).toBe(true);
});

/**
 * The CRC of a concatenation from the CRCs of its pieces, without reading the bytes again:
 * appending n bytes multiplies a CRC by x^(8n) modulo the polynomial. Polynomials over GF(2) are
 * kept bit-reflected in a BigInt, so the highest bit is the coefficient of x^0.
 */

interface Field {
  readonly bits: bigint;
  readonly polynomial: bigint;
}

const fields = {
  CRC32: { bits: 32n, polynomial: 0xedb88320n },
  CRC32C: { bits: 32n, polynomial: 0x82f63b78n },
  CRC64NVME: { bits: 64n, polynomial: 0x9a6c9329ac4bc9b5n },
} as const satisfies Record<string, Field>;

/** Checksums that can be combined. */
export type CombinableCrc = keyof typeof fields;

/** One piece of a concatenation: its CRC (big-endian bytes) and its length. */
export interface CrcPiece {
  readonly crc: Buffer;
  readonly bytes: number;
}

/** The CRC of all pieces one after the other, big-endian. At least one piece. */
export function combineCrcs(algorithm: CombinableCrc, pieces: readonly CrcPiece[]): Buffer {
  const field = fields[algorithm];
  // Parts of one upload nearly always share one size: each power is worked out once.
  const shifts = new Map<number, bigint>();
  let total = 0n;
  for (const [index, piece] of pieces.entries()) {
    const crc = BigInt(`0x${piece.crc.toString("hex")}`);
    if (index === 0) {
      total = crc;
      continue;
    }
    let shift = shifts.get(piece.bytes);
    if (shift === undefined) {
      shift = powerOfX(field, BigInt(piece.bytes) * 8n);
      shifts.set(piece.bytes, shift);
    }
    total = multiply(field, shift, total) ^ crc;
  }
  return Buffer.from(total.toString(16).padStart(Number(field.bits / 4n), "0"), "hex");
}

function multiply({ bits, polynomial }: Field, a: bigint, b: bigint): bigint {
  let product = 0n;
  let shifted = b;
  for (let mask = 1n << (bits - 1n); mask > 0n; mask >>= 1n) {
    if (a & mask) product ^= shifted;
    shifted = shifted & 1n ? (shifted >> 1n) ^ polynomial : shifted >> 1n;
  }
  return product;
}

function powerOfX(field: Field, exponent: bigint): bigint {
  let result = 1n << (field.bits - 1n); // x^0
  let square = 1n << (field.bits - 2n); // x^1
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = multiply(field, square, result);
    square = multiply(field, square, square);
  }
  return result;
}

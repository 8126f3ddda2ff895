// The CRC-32 of two messages end to end from the CRC-32s of each, so that a part's sum comes from its shards' and no byte
// is summed twice. Appending n bytes to a message multiplies its CRC by x^(8n) modulo the polynomial, in arithmetic
// over GF(2) with bits reversed (bit 31 is x^0), and then adds the appended message's CRC.

const POLYNOMIAL = 0xedb88320;
/** The polynomial 1. */
const ONE = 0x80000000;
/** x^8: one byte. */
const BYTE = 0x00800000;

/** CRC-32 of the message `a` followed by `b` of `bytesOfB` bytes, from the CRC-32s of both. Unsigned numbers. */
export function crc32Combine(a: number, b: number, bytesOfB: number): number {
  return (multiply(powerOfBytes(bytesOfB), a) ^ b) >>> 0;
}

/**
 * `crc32Combine` for messages `b` of one length, a hundred times faster: four look-ups in tables of 4 KiB that
 * are made once.
 */
export function crc32Appender(bytesOfB: number): (a: number, b: number) => number {
  const factor = powerOfBytes(bytesOfB);
  const tables = new Int32Array(1024);
  for (let byte = 0; byte < 256; byte++) {
    for (let at = 0; at < 4; at++) tables[at * 256 + byte] = multiply(factor, byte << (8 * at));
  }
  const entry = (at: number) => tables[at] ?? 0;
  return (a, b) =>
    (entry(a & 255) ^
      entry(256 + ((a >>> 8) & 255)) ^
      entry(512 + ((a >>> 16) & 255)) ^
      entry(768 + (a >>> 24)) ^
      b) >>>
    0;
}

/** x^(8·bytes) modulo the polynomial, by squaring. */
function powerOfBytes(bytes: number): number {
  let result = ONE;
  let square = BYTE;
  // Division instead of shifts: lengths go up to 2^53.
  for (let rest = bytes; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = multiply(square, result);
    square = multiply(square, square);
  }
  return result;
}

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= shifted;
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ POLYNOMIAL;
  }
  return product;
}

/**
 * CRC-64/NVME, eight bytes a step. JavaScript has no 64-bit integers that are fast, so a state is
 * two 32-bit halves and each table is two tables.
 */

/** The reflected polynomial 0x9a6c9329ac4bc9b5, in halves. */
const POLYNOMIAL_HIGH = 0x9a6c9329 | 0;
const POLYNOMIAL_LOW = 0xac4bc9b5 | 0;
const SLICES = 8;

const low = new Int32Array(256 * SLICES);
const high = new Int32Array(256 * SLICES);
buildTables();

function buildTables(): void {
  for (let byte = 0; byte < 256; byte++) {
    let l = byte;
    let h = 0;
    for (let bit = 0; bit < 8; bit++) {
      const carry = l & 1;
      l = (l >>> 1) | (h << 31);
      h >>>= 1;
      if (carry) {
        l ^= POLYNOMIAL_LOW;
        h ^= POLYNOMIAL_HIGH;
      }
    }
    low[byte] = l;
    high[byte] = h;
  }
  for (let at = 256; at < low.length; at++) {
    const l = low[at - 256]!;
    const h = high[at - 256]!;
    low[at] = ((l >>> 8) | (h << 24)) ^ low[l & 255]!;
    high[at] = (h >>> 8) ^ high[l & 255]!;
  }
}

/** A CRC-64/NVME that is fed piece by piece. */
export class Crc64Nvme {
  #low = ~0;
  #high = ~0;

  update(data: Uint8Array): void {
    let l = this.#low;
    let h = this.#high;
    let at = 0;
    const single = (): void => {
      const slot = (l ^ data[at++]!) & 255;
      l = ((l >>> 8) | (h << 24)) ^ low[slot]!;
      h = (h >>> 8) ^ high[slot]!;
    };
    // Words need an aligned view; the bytes before alignment go one by one.
    while (at < data.length && (data.byteOffset + at) % 4 !== 0) single();
    const steps = (data.length - at) >>> 3;
    const words = new Int32Array(data.buffer, data.byteOffset + at, steps * 2);
    for (let i = 0; i < words.length; i += 2) {
      const x = l ^ words[i]!;
      const y = h ^ words[i + 1]!;
      const a = 1792 + (x & 255);
      const b = 1536 + ((x >>> 8) & 255);
      const c = 1280 + ((x >>> 16) & 255);
      const d = 1024 + (x >>> 24);
      const e = 768 + (y & 255);
      const f = 512 + ((y >>> 8) & 255);
      const g = 256 + ((y >>> 16) & 255);
      const k = y >>> 24;
      l = low[a]! ^ low[b]! ^ low[c]! ^ low[d]! ^ low[e]! ^ low[f]! ^ low[g]! ^ low[k]!;
      h = high[a]! ^ high[b]! ^ high[c]! ^ high[d]! ^ high[e]! ^ high[f]! ^ high[g]! ^ high[k]!;
    }
    at += steps * 8;
    while (at < data.length) single();
    this.#low = l;
    this.#high = h;
  }

  /** Eight bytes, most significant first, as S3 writes them. */
  digest(): Buffer {
    const out = Buffer.alloc(8);
    out.writeUInt32BE(~this.#high >>> 0, 0);
    out.writeUInt32BE(~this.#low >>> 0, 4);
    return out;
  }
}

// CRC-32 (ISO 3309) by eight tables, eight bytes a step ("slicing by 8", Kounavis and Berry 2005).

const POLYNOMIAL = 0xedb88320;
const TABLES = makeTables();

/** CRC-32 of `bytes` as an unsigned number, going on from `seed` (the CRC of what came before). */
export function crc32(bytes: Uint8Array, seed = 0): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole = bytes.length - (bytes.length % 8);
  let crc = ~seed;
  for (let at = 0; at < whole; at += 8) {
    const low = view.getUint32(at, true) ^ crc;
    const high = view.getUint32(at + 4, true);
    crc =
      entry(7, low) ^
      entry(6, low >>> 8) ^
      entry(5, low >>> 16) ^
      entry(4, low >>> 24) ^
      entry(3, high) ^
      entry(2, high >>> 8) ^
      entry(1, high >>> 16) ^
      entry(0, high >>> 24);
  }
  for (let at = whole; at < bytes.length; at++) {
    crc = entry(0, crc ^ view.getUint8(at)) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

function entry(table: number, byte: number): number {
  return TABLES[table * 256 + (byte & 255)] ?? 0;
}

function makeTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const before = tables[at - 256] ?? 0;
    tables[at] = (before >>> 8) ^ (tables[before & 255] ?? 0);
  }
  return tables;
}

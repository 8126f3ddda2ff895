// The IDX format of the MNIST files (http://yann.lecun.com/exdb/mnist): a magic number that names the
// element type and the number of dimensions, the dimensions as big-endian 32-bit numbers, then the bytes.

export type IdxBytes = { readonly shape: readonly number[]; readonly data: Uint8Array };

const UNSIGNED_BYTE = 0x08;

/** Encodes unsigned bytes of the given shape. */
export function encodeIdx({ shape, data }: IdxBytes): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * shape.length + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, (UNSIGNED_BYTE << 8) | shape.length);
  shape.forEach((size, i) => view.setUint32(4 + 4 * i, size));
  bytes.set(data, 4 + 4 * shape.length);
  return bytes;
}

/** Decodes unsigned bytes; throws when the file is of another type or shorter than its head says. */
export function decodeIdx(bytes: Uint8Array): IdxBytes {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0);
  if (magic >> 8 !== UNSIGNED_BYTE)
    throw new Error(`not an IDX file of unsigned bytes (${magic.toString(16)})`);
  const shape = Array.from({ length: magic & 0xff }, (_, i) => view.getUint32(4 + 4 * i));
  const length = shape.reduce((product, size) => product * size, 1);
  const data = bytes.subarray(4 + 4 * shape.length);
  if (data.length !== length)
    throw new Error(`IDX file has ${data.length} values instead of ${length}`);
  return { shape, data };
}

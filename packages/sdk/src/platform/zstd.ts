// What Zstandard looks like on every platform.

export interface Zstd {
  /** Whether `compress` works here. Browsers only read what is compressed. */
  readonly canCompress: boolean;
  /** Frames worth making at once. */
  readonly parallel: number;
  /** One frame of these bytes, which MUST NOT change meanwhile. Levels 1 to 22. */
  compress(bytes: Uint8Array, level: number): Promise<Uint8Array>;
  /** Length of the frame at level 1, at once: for samples of some KiB. */
  compressedBytes(bytes: Uint8Array): number;
  /** The `size` bytes of one frame, never more; throws when it is damaged or holds another number of bytes. */
  decompress(frame: Uint8Array, size: number): Promise<Uint8Array>;
}

/** The bytes, if they are as many as they should be. */
export function checkedSize(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length === size) return bytes;
  throw new RangeError(`a frame held ${bytes.length} bytes instead of ${size}`);
}

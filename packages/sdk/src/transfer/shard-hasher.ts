// Digests and CRC-32s of shards from bytes that come in order, in pieces that know nothing of shards; and the
// CRC-32 of a part from those of its pieces, so that every byte goes through each function once.
import { type Hasher, blake3Hex, crc32, createHasher } from "../platform/index.ts";
import { crc32Appender, crc32Combine } from "../delta/index.ts";
import { type Digest, LIMITS } from "../protocol/index.ts";

/** Below this, putting bytes through the CRC again costs less than combining. */
const COMBINE_BYTES = 32 * 1024;
/** Nearly all pieces have this length. */
const USUAL_BYTES = LIMITS.shardBytes;
const appendUsual = crc32Appender(USUAL_BYTES);
/** A CRC-32 that grows by pieces whose own is known. */
export class CombinedCrc32 {
  #value = 0;
  #bytes = 0;

  get value(): number {
    return this.#value;
  }

  reset(): void {
    this.#value = 0;
    this.#bytes = 0;
  }

  /** Appends a piece. */
  add(piece: Uint8Array, pieceCrc: number): void {
    if (this.#bytes === 0) this.#value = pieceCrc;
    else if (piece.length < COMBINE_BYTES) this.#value = crc32(piece, this.#value);
    else this.#value = appended(this.#value, pieceCrc, piece.length);
    this.#bytes += piece.length;
  }

  /** Appends a piece whose bytes are not at hand. */
  append(pieceCrc: number, bytes: number): void {
    this.#value = this.#bytes === 0 ? pieceCrc : appended(this.#value, pieceCrc, bytes);
    this.#bytes += bytes;
  }
}

/** Cuts the bytes of a tree's files into shards. */
export class ShardHasher {
  readonly #shardBytes: number;
  readonly #digests: Digest[][];
  readonly #crcs: number[][];
  readonly #hasher: Hasher = createHasher();
  readonly #open = new CombinedCrc32();

  constructor(files: number, shardBytes: number) {
    this.#shardBytes = shardBytes;
    this.#digests = Array.from({ length: files }, () => []);
    this.#crcs = Array.from({ length: files }, () => []);
  }

  /**
   * Takes the bytes of file `index` at `offset`; `fileSize` tells where its last shard ends. Adds them to
   * `sum` as well.
   */
  take(
    index: number,
    offset: number,
    bytes: Uint8Array,
    fileSize: number,
    sum?: CombinedCrc32,
  ): void {
    const size = this.#shardBytes;
    for (let at = 0; at < bytes.length;) {
      const inShard = (offset + at) % size;
      const start = offset + at - inShard;
      const shardSize = Math.min(size, fileSize - start);
      const piece = bytes.subarray(at, at + shardSize - inShard);
      at += piece.length;
      const crc = crc32(piece);
      sum?.add(piece, crc);
      if (piece.length === shardSize) {
        this.#add(index, blake3Hex(piece), crc);
        continue;
      }
      if (inShard === 0) {
        this.#hasher.reset();
        this.#open.reset();
      }
      this.#hasher.update(piece);
      this.#open.add(piece, crc);
      if (inShard + piece.length === shardSize) {
        this.#add(index, this.#hasher.digestHex(), this.#open.value);
      }
    }
  }

  digests(index: number): Digest[] {
    return this.#digests[index] ?? [];
  }

  crcs(index: number): number[] {
    return this.#crcs[index] ?? [];
  }

  #add(index: number, hex: string, crc: number): void {
    // The platform's own BLAKE3 gives 64 lower-case hex digits: the brand needs no check per shard.
    this.#digests[index]?.push(hex as Digest);
    this.#crcs[index]?.push(crc);
  }
}

function appended(before: number, pieceCrc: number, bytes: number): number {
  return bytes === USUAL_BYTES
    ? appendUsual(before, pieceCrc)
    : crc32Combine(before, pieceCrc, bytes);
}

/** S3's form of a CRC-32: base64 of its four bytes, the most significant first. */
export function crc32Base64(value: number): string {
  return btoa(
    String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255),
  );
}

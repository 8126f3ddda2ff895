// What hashing looks like on every platform (BLAKE3-256; docs/decisions/0002-blake3.md).

/** Incremental BLAKE3-256 of one message at a time. */
export interface Hasher {
  /** Takes in bytes; they may be reused as soon as it returns. */
  update(bytes: Uint8Array): this;
  /** Lower-case hex of what was taken in; `reset` before the next message. */
  digestHex(): string;
  reset(): this;
}

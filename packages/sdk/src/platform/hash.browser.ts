// BLAKE3 in browsers: WebAssembly SIMD made at run time, 0.9 GiB/s for whole shards
// (docs/decisions/0002-blake3.md).
import { Hasher as JitHasher, hash } from "blake3-jit";
import type { Hasher } from "./hasher.ts";

/** BLAKE3-256 of a whole message as lower-case hex; the fastest form when the bytes are at hand. */
export function blake3Hex(bytes: Uint8Array): string {
  return toHex(hash(bytes));
}

/** An incremental hasher for messages that are not in memory at once. */
export function createHasher(): Hasher {
  const inner = new JitHasher();
  const hasher: Hasher = {
    update: (bytes) => {
      inner.update(bytes);
      return hasher;
    },
    digestHex: () => toHex(inner.finalize()),
    reset: () => {
      inner.reset();
      return hasher;
    },
  };
  return hasher;
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

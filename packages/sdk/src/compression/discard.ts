// Memory that (de)compressors allocate for every frame is given back at once: left to the garbage collector, it would be
// hundreds of megabytes before it is collected (I3).

/** Smaller memory may be shared with others (Node's pool), and is not worth it. */
const LEAST_BYTES = 128 * 1024;

/** Frees what bytes lie in. They, and everything else in that memory, MUST NOT be used any more. */
export function discard(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < LEAST_BYTES) return;
  // Older browsers lack it, and collect.
  if (typeof buffer.transfer === "function") buffer.transfer(0);
}

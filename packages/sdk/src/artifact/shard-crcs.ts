// The `crcs` of a manifest's file: CRC-32 of each shard, by which known content is found at other offsets
// (docs/protocol/artifact.md §1). Weak sums: a match is confirmed by the shard's digest.
import { fromBase64, toBase64 } from "./base64.ts";

/** The member `crcs` for shards with these CRC-32s (unsigned numbers). */
export function encodeCrcs(crcs: ArrayLike<number>): string {
  const bytes = new Uint8Array(crcs.length * 4);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < crcs.length; at++) view.setUint32(at * 4, crcs[at] ?? 0);
  return toBase64(bytes);
}

/** CRC-32s of the shards; throws `invalid_request` when the text is not base64 of whole sums. */
export function decodeCrcs(text: string, what = "a list of CRC-32s"): Uint32Array {
  const bytes = fromBase64(text, what);
  const view = new DataView(bytes.buffer);
  const crcs = new Uint32Array(Math.ceil(bytes.length / 4));
  for (let at = 0; at + 4 <= bytes.length; at += 4) crcs[at / 4] = view.getUint32(at);
  return crcs;
}

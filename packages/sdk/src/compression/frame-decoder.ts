// Frames off the wire become the shards they stand for. A frame that cannot be decoded becomes bytes that no digest
// matches: a bad frame is a bad shard, and its source is blamed for it like for any other.
import { zstd } from "../platform/index.ts";
import { storedContent } from "./stored-frame.ts";

export type FramesToDecode = {
  /** Length of each frame, in the order they come. */
  readonly frameBytes: readonly number[];
  /** Bytes that each must give. */
  readonly shardBytes: readonly number[];
  /** Told by how much each frame was shorter than what it stands for. */
  readonly onSaved?: ((bytes: number) => void) | undefined;
};

/**
 * The shards of frames that come end to end in pieces of any size, one piece for each shard. Ends with the last frame;
 * throws what `wire` throws, after the shards that came whole before. Holds one frame that is being decoded while the next one comes.
 */
export async function* decodeFrames(
  wire: AsyncIterable<Uint8Array>,
  { frameBytes, shardBytes, onSaved }: FramesToDecode,
): AsyncGenerator<Uint8Array> {
  let decoding: Promise<Uint8Array> | undefined;
  let next = 0;
  let frame = new Uint8Array(frameBytes[0] ?? 0);
  let filled = 0;
  try {
    for await (const piece of wire) {
      for (let at = 0; at < piece.length && next < frameBytes.length;) {
        const part = piece.subarray(at, at + frame.length - filled);
        frame.set(part, filled);
        at += part.length;
        filled += part.length;
        if (filled < frame.length) break;
        const before = decoding;
        const size = shardBytes[next] ?? 0;
        onSaved?.(size - frame.length);
        decoding = decodeFrame(frame, size);
        next += 1;
        frame = new Uint8Array(frameBytes[next] ?? 0);
        filled = 0;
        if (before !== undefined) yield await before;
      }
    }
  } catch (error) {
    if (decoding !== undefined) yield await decoding;
    throw error;
  }
  if (decoding !== undefined) yield await decoding;
}

/** A frame's bytes; zeros where it is damaged. Never throws. */
export async function decodeFrame(frame: Uint8Array, size: number): Promise<Uint8Array> {
  const stored = storedContent(frame, size);
  if (stored !== undefined) return stored;
  try {
    return await zstd.decompress(frame, size);
  } catch {
    return new Uint8Array(size);
  }
}

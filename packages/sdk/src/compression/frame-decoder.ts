// Frames off the wire become the shards they stand for. A frame that cannot be decoded becomes bytes that no digest
// matches: a bad frame is a bad shard, and its source is blamed for it like for any other.
import { zstd } from "../platform/index.ts";
import { discard } from "./discard.ts";
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
 * The shards of frames that come end to end in pieces of any size, one piece for each shard, valid until the next one is
 * asked for. Ends with the last frame; throws what `wire` throws, after the shards that came whole before. Holds one
 * frame that is being decoded while the next one comes.
 */
export async function* decodeFrames(
  wire: AsyncIterable<Uint8Array>,
  frames: FramesToDecode,
): AsyncGenerator<Uint8Array> {
  const gathering = new FrameGatherer(frames);
  let decoding: Promise<Uint8Array> | undefined;
  try {
    for await (const piece of wire) {
      for (let at = 0; at < piece.length && !gathering.isDone;) {
        at += gathering.add(piece.subarray(at));
        const whole = gathering.take();
        if (whole === undefined) continue;
        const before = decoding;
        decoding = decodeFrame(whole.frame, whole.size);
        if (before !== undefined) yield* given(before);
      }
    }
    if (decoding !== undefined) yield* given(decoding);
  } catch (error) {
    if (decoding !== undefined) yield* given(decoding);
    throw error;
  } finally {
    // Whoever leaves early leaves a frame behind that another thread may still be reading.
    await decoding;
    gathering.release();
  }
}

async function* given(shard: Promise<Uint8Array>): AsyncGenerator<Uint8Array> {
  const bytes = await shard;
  try {
    yield bytes;
  } finally {
    discard(bytes);
  }
}

/** Puts frames together in two buffers: one is filled while what is in the other is decoded. */
class FrameGatherer {
  readonly #frames: FramesToDecode;
  readonly #buffers: readonly Uint8Array[];
  #next = 0;
  #filled = 0;

  constructor(frames: FramesToDecode) {
    this.#frames = frames;
    const most = frames.frameBytes.reduce((longest, length) => Math.max(longest, length), 0);
    const two = Math.min(2, frames.frameBytes.length);
    this.#buffers = Array.from({ length: two }, () => new Uint8Array(most));
  }

  get isDone(): boolean {
    return this.#next === this.#frames.frameBytes.length;
  }

  /** Takes bytes up to the end of the frame; gives how many. */
  add(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, this.#length - this.#filled);
    this.#buffers[this.#next % 2]?.set(taken, this.#filled);
    this.#filled += taken.length;
    return taken.length;
  }

  /** The frame, once it is whole, and the bytes it must give. Its memory is filled again with the next but one. */
  take(): { readonly frame: Uint8Array; readonly size: number } | undefined {
    const length = this.#length;
    const frame = this.#buffers[this.#next % 2]?.subarray(0, length);
    if (this.#filled < length || frame === undefined) return undefined;
    const size = this.#frames.shardBytes[this.#next] ?? 0;
    this.#frames.onSaved?.(size - length);
    this.#next += 1;
    this.#filled = 0;
    return { frame, size };
  }

  /** Gives the memory back; nothing is gathered any more. */
  release(): void {
    for (const buffer of this.#buffers) discard(buffer);
  }

  get #length(): number {
    return this.#frames.frameBytes[this.#next] ?? 0;
  }
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

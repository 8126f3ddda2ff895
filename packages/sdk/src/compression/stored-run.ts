// The bytes of a run of shards, however its object is stored: what every source of stored objects does with a range.
import type { ObjectRange, ShardMap, ShardRun } from "../artifact/index.ts";
import { decodeFrames } from "./frame-decoder.ts";

type ReadOptions = {
  readonly signal: AbortSignal;
  readonly into?: ((at: number) => Uint8Array | undefined) | undefined;
  readonly onSaved?: ((bytes: number) => void) | undefined;
};

/**
 * The plain bytes of a run, from `read`, which gives a range as it is stored.
 * @param objectBytes what `read` is told of the whole object's size in storage
 */
export function readStoredRun(
  map: ShardMap,
  run: ShardRun,
  options: ReadOptions,
  read: (
    range: ObjectRange,
    options: ReadOptions,
    objectBytes: number,
  ) => AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  const range = map.rangeOf(run);
  const first = map.objectStart(run.first);
  const objectBytes = map.storedBytesOf({ first, count: map.objectEnd(run.first) - first });
  if (range.encoded === undefined) return read(range, options, objectBytes);
  const { signal, onSaved } = options;
  const { frameBytes } = range.encoded;
  const shardBytes = frameBytes.map((_, at) => map.locate(run.first + at).size);
  // Frames have no place in the reader's memory: their shards are put there.
  return decodeFrames(read(range, { signal }, objectBytes), { frameBytes, shardBytes, onSaved });
}

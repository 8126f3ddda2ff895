// Objects that are stored compressed: one zstd frame per shard, end to end, so that any run of shards is still one
// range and `zstd -d` gives the plain bytes (docs/protocol/artifact.md §4).
import { LIMITS, type StoredEncoding, WaybillError } from "../protocol/index.ts";
import { fromBase64, toBase64 } from "./base64.ts";
import { decodeCrcs, encodeCrcs } from "./shard-crcs.ts";
import { decodeVarints, encodeVarints } from "./varint.ts";

const SUFFIX = ".zst";

/** Key of the encoded form of a plain object. */
export function encodedKey(key: string): string {
  return `${key}${SUFFIX}`;
}

/** The longest frame of a shard of this many bytes: zstd's own bound for what does not compress, and a little more. */
export function maxFrameBytes(shardSize: number): number {
  return shardSize + Math.floor(shardSize / 256) + 1024;
}

/** The member of `stored` for the object `of` whose shards have frames of these lengths and CRC-32s. */
export function describeEncoding(
  of: string,
  frameBytes: Iterable<number>,
  frameCrcs?: readonly number[],
): StoredEncoding {
  const frames = toBase64(encodeVarints(frameBytes));
  return {
    encoding: "zstd",
    of,
    frames,
    ...(frameCrcs === undefined ? {} : { crcs: encodeCrcs(frameCrcs) }),
  };
}

/** Which files of a plain artifact MUST NOT be encoded: their encoded key is another file's, or too long. */
export function unencodablePaths(paths: readonly string[]): Set<string> {
  const taken = new Set<string>();
  for (const path of paths) {
    if (!path.includes(SUFFIX)) continue;
    taken.add(path);
    for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) {
      taken.add(path.slice(0, at));
    }
  }
  const encoder = new TextEncoder();
  const isTooLong = (path: string) =>
    path.length * 3 > LIMITS.pathBytes - SUFFIX.length &&
    encoder.encode(path).length > LIMITS.pathBytes - SUFFIX.length;
  return new Set(paths.filter((path) => taken.has(encodedKey(path)) || isTooLong(path)));
}

/** An encoded object and where the frames of its shards lie in it. */
export class EncodedObject {
  readonly key: string;
  readonly encoding = "zstd";
  /** Frame i begins at entry i; one more entry than frames. */
  readonly #starts: Float64Array;
  readonly #crcs: Uint32Array | undefined;

  /** Throws `invalid_request` when `stored` does not describe one frame for each of `shards` shards. */
  constructor(key: string, stored: StoredEncoding, shards: number) {
    this.key = key;
    const what = `the frames of ${key}`;
    const sizes = decodeVarints(fromBase64(stored.frames, what), what);
    if (sizes.length !== shards) {
      throw new WaybillError(
        "invalid_request",
        `the manifest gives ${key} ${sizes.length} frames; its object has ${shards} shards`,
      );
    }
    this.#starts = new Float64Array(sizes.length + 1);
    let start = 0;
    for (const [at, size] of sizes.entries()) {
      start += size;
      this.#starts[at + 1] = start;
    }
    this.#crcs = stored.crcs === undefined ? undefined : decodeCrcs(stored.crcs);
    if (this.#crcs !== undefined && this.#crcs.length !== shards) {
      throw new WaybillError("invalid_request", `the manifest's crcs of ${key} fit not its frames`);
    }
  }

  /** CRC-32 of frame `index`; undefined when the manifest does not tell. */
  frameCrc(index: number): number | undefined {
    return this.#crcs?.[index];
  }

  /** Size of the object in storage. */
  get bytes(): number {
    return this.start(this.#starts.length - 1);
  }

  /** Where frame `index` begins; for the number of frames, where the object ends. */
  start(index: number): number {
    return this.#starts[index] ?? 0;
  }

  /** Lengths of `count` frames from `first`. */
  frameBytes(first: number, count: number): number[] {
    return Array.from(
      { length: count },
      (_, at) => this.start(first + at + 1) - this.start(first + at),
    );
  }
}

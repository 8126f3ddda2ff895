// Where the shards of one object lie in it, and which of them may begin a part when the object is stored as frames
// (docs/protocol/hub-api.md 25): part n begins with the first shard at or behind (n − 1) · unitBytes.
import type { ScannedFile } from "../artifact/index.ts";

export class ShardGrid {
  /** Offset of each shard in the object; one more entry than shards. */
  readonly #starts: Float64Array;
  readonly #unitBytes: number;

  /** The object holds these files end to end. */
  constructor(
    files: readonly Pick<ScannedFile, "size">[],
    { shardBytes, unitBytes }: { readonly shardBytes: number; readonly unitBytes: number },
  ) {
    this.#unitBytes = unitBytes;
    let count = 0;
    for (const { size } of files) count += Math.ceil(size / shardBytes);
    this.#starts = new Float64Array(count + 1);
    let shard = 0;
    let start = 0;
    for (const { size } of files) {
      for (let at = 0; at < size; at += shardBytes) this.#starts[shard++] = start + at;
      start += size;
    }
    this.#starts[shard] = start;
  }

  get count(): number {
    return this.#starts.length - 1;
  }

  /** Offset of a shard; for the number of shards, the object's size. */
  start(shard: number): number {
    return this.#starts[shard] ?? 0;
  }

  /** Bytes of the shards from `first` up to `end`. */
  bytes(first: number, end: number): number {
    return this.start(end) - this.start(first);
  }

  /** The number of the part that begins with a shard; undefined when none can. */
  partAt(shard: number): number | undefined {
    const unit = Math.floor(this.start(shard) / this.#unitBytes);
    const isFirst = shard === 0 || this.start(shard - 1) < unit * this.#unitBytes;
    return shard < this.count && isFirst ? unit + 1 : undefined;
  }

  /** Whether a part may end before this shard. */
  isEdge(shard: number): boolean {
    return shard === this.count || this.partAt(shard) !== undefined;
  }

  /** The end of the shards from `first` that are at most `bytes` together; one at least. */
  groupEnd(first: number, bytes: number): number {
    let end = first + 1;
    while (end < this.count && this.bytes(first, end + 1) <= bytes) end += 1;
    return Math.min(end, this.count);
  }
}

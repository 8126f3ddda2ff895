// Shards of one object on their way to frames: read in order, hashed the first time, compressed a few at once, given
// out in order. It can be set back: what was read before is then read again, and must still be the same.
import { type Level, storedFrame } from "../compression/index.ts";
import { TimeSlice, crc32, zstd } from "../platform/index.ts";
import { CombinedCrc32, crc32Base64 } from "./shard-hasher.ts";
import type { ShardGrid } from "./shard-grid.ts";
import type { HashedShard, PartBody, TreeBytes } from "./tree-bytes.ts";

/** Read at once where shards are small. */
const GROUP_BYTES = 1024 * 1024;
/** Shorter frames are made on this thread, where they would keep everything else waiting. */
const SHORT_BYTES = 64 * 1024;

export type Frame = { readonly bytes: Uint8Array; readonly plain: number; readonly crc32: number };

export type FrameLineInit = {
  readonly tree: TreeBytes;
  /** The plain object's key. */
  readonly key: string;
  readonly grid: ShardGrid;
  /** Told of every frame that was made, for the choice of levels. */
  readonly onFrame: (frame: {
    readonly level: Level;
    readonly plain: number;
    readonly stored: number;
    readonly ms: number;
  }) => void;
};

type Group = {
  readonly first: number;
  readonly end: number;
  readonly body: PartBody;
  /** Shards of it that are being compressed, and whether it is the current one. */
  users: number;
};

export class FrameLine {
  readonly #init: FrameLineInit;
  readonly #slice = new TimeSlice();
  /** The shards that were read so far. */
  readonly #shards: HashedShard[] = [];
  #group: Group | undefined;
  #level: Level = 1;
  /** Frames that are being made, from shard `#first` on. */
  #pending: Promise<Frame>[] = [];
  #first = 0;
  #loading: Promise<unknown> = Promise.resolve();

  constructor(init: FrameLineInit) {
    this.#init = init;
  }

  /** Sees to it that the shards before `end` were read and hashed. */
  async readTo(end: number, signal: AbortSignal): Promise<void> {
    const loaded = this.#loading.then(async () => this.#loadUpTo(end, signal));
    this.#loading = loaded.catch(() => undefined);
    await loaded;
  }

  async #loadUpTo(end: number, signal: AbortSignal): Promise<void> {
    while (this.#shards.length < end) await this.#load(this.#shards.length, signal);
  }

  /** A shard's digest, once it was read. */
  digest(shard: number): string | undefined {
    return this.#shards[shard]?.digest;
  }

  /** The next frame is that of `shard` at `level`. */
  async start(shard: number, level: Level): Promise<void> {
    if (this.#first === shard && (this.#level === level || this.#pending.length === 0)) {
      this.#level = level;
      return;
    }
    await Promise.allSettled(this.#pending);
    this.#pending = [];
    this.#first = shard;
    this.#level = level;
  }

  /** The next frame; the one behind it is then next. */
  async take(signal: AbortSignal): Promise<Frame> {
    const { grid } = this.#init;
    const ahead = zstd.parallel + 1;
    while (this.#pending.length < ahead && this.#first + this.#pending.length < grid.count) {
      const frame = this.#make(this.#first + this.#pending.length, this.#level, signal);
      // Reported when it is taken.
      frame.catch(() => undefined);
      this.#pending.push(frame);
    }
    const [next] = this.#pending;
    if (next === undefined) throw new RangeError("the object has no further shard");
    const frame = await next;
    this.#pending = this.#pending.slice(1);
    this.#first += 1;
    return frame;
  }

  /** Gives its memory free; it may go on later. */
  async rest(): Promise<void> {
    await Promise.allSettled(this.#pending);
    this.#pending = [];
    await this.#loading;
    if (this.#group !== undefined) this.#leave(this.#group);
    this.#group = undefined;
  }

  async #make(shard: number, level: Level, signal: AbortSignal): Promise<Frame> {
    const loaded = this.#loading.then(async () => this.#shard(shard, signal));
    this.#loading = loaded.catch(() => undefined);
    const { bytes, group } = await loaded;
    try {
      if (bytes.length <= SHORT_BYTES) await this.#slice.pause(signal);
      const startMs = performance.now();
      const frame = level === 0 ? storedFrame(bytes) : await zstd.compress(bytes, level);
      const ms = performance.now() - startMs;
      this.#init.onFrame({ level, plain: bytes.length, stored: frame.length, ms });
      return { bytes: frame, plain: bytes.length, crc32: crc32(frame) };
    } finally {
      this.#leave(group);
    }
  }

  async #shard(shard: number, signal: AbortSignal): Promise<{ bytes: Uint8Array; group: Group }> {
    const { grid } = this.#init;
    const held = this.#group;
    const group =
      held !== undefined && shard >= held.first && shard < held.end
        ? held
        : await this.#load(shard, signal);
    const from = grid.bytes(group.first, shard);
    group.users += 1;
    return { bytes: group.body.bytes.subarray(from, from + grid.bytes(shard, shard + 1)), group };
  }

  /** Makes the shards from `first` on the current group; only those that were read before, or none of them. */
  async #load(first: number, signal: AbortSignal): Promise<Group> {
    const { grid } = this.#init;
    if (this.#group !== undefined) this.#leave(this.#group);
    this.#group = undefined;
    const known = this.#shards.length;
    const end = grid.groupEnd(first, GROUP_BYTES);
    const group =
      first < known
        ? await this.#readAgain(first, Math.min(end, known), signal)
        : await this.#readFirst(first, end, signal);
    this.#group = group;
    return group;
  }

  async #readFirst(first: number, end: number, signal: AbortSignal): Promise<Group> {
    const { tree, grid } = this.#init;
    const span = await tree.read(grid.bytes(first, end), signal);
    this.#shards.push(...tree.hashShards(span));
    return { first, end, body: span, users: 1 };
  }

  async #readAgain(first: number, end: number, signal: AbortSignal): Promise<Group> {
    const { tree, grid, key } = this.#init;
    const sum = new CombinedCrc32();
    for (let shard = first; shard < end; shard++) {
      sum.append(this.#shards[shard]?.crc32 ?? 0, grid.bytes(shard, shard + 1));
    }
    const part = {
      key,
      offset: grid.start(first),
      size: grid.bytes(first, end),
      crc32: crc32Base64(sum.value),
    };
    return { first, end, body: await tree.readAgain(part, signal), users: 1 };
  }

  #leave(group: Group): void {
    group.users -= 1;
    if (group.users === 0) group.body.release();
  }
}

// Cuts one object that is stored as frames into parts: one that is held is found again by making its frames anew, one
// that a base has is copied, the rest is sent. Where a part ends is known only once its frames are made.
//
//   shards   │0│1│2│3│4│5│6│7│…        part n begins with the first shard at or behind (n − 1) · unitBytes and has
//   frames   │▌│▎│▌│▌│▎│▌│▎│▌│…        5 MiB of frames at least, unless it ends the object
//   parts    ├────1────┼────6────┼…
import {
  LEVELS,
  type Level,
  chooseLevel,
  discard,
  frameMade,
  storedFrameBytes,
} from "../compression/index.ts";
import { zstd } from "../platform/index.ts";
import { LIMITS, WaybillError, isPutAtOnce } from "../protocol/index.ts";
import type { EncodedBases, EncodedMatch } from "./encoded-bases.ts";
import type { CompressionPace } from "./compression-pace.ts";
import { FrameBody } from "./frame-body.ts";
import { type Frame, FrameLine } from "./frame-line.ts";
import type { HeldObject, HeldPart } from "./held-parts.ts";
import type { ReadPart } from "./part-reader.ts";
import { CombinedCrc32, crc32Base64 } from "./shard-hasher.ts";
import type { ShardGrid } from "./shard-grid.ts";
import type { TreeBytes } from "./tree-bytes.ts";

/** What the link asks for. */
export type Wanted = {
  /** Size of the next part. */
  readonly bytes: number;
  /** What the link takes, in bytes a second; undefined before it was measured. */
  readonly linkBytesPerS?: number | undefined;
};

export type EncodedCutterInit = {
  /** Key of the encoded object, and of its plain form. */
  readonly key: string;
  readonly plainKey: string;
  readonly grid: ShardGrid;
  readonly tree: TreeBytes;
  readonly held: HeldObject;
  readonly bases?: EncodedBases | undefined;
  /** Shared by the objects of a push. */
  readonly pace: CompressionPace;
};

/** The frames of some shards. */
type Frames = { readonly lengths: readonly number[]; readonly crcs: readonly number[] };
type FrameRun = Frames & { readonly first: number; readonly end: number };

/** Held parts that no level made anew, after which no more are tried: another program or library made them. */
const MAX_HELD_MISSES = 2;
/** A copy that is refused is sent: so much may be in memory at once for it. */
const MAX_COPY_BYTES = 16 * 1024 * 1024;

export class EncodedCutter {
  readonly #init: EncodedCutterInit;
  readonly #line: FrameLine;
  readonly #atOnce: boolean;
  /** By shard. */
  readonly #lengths: number[] = [];
  readonly #crcs: number[] = [];
  /** The shards of each part, by number. */
  readonly #runs = new Map<number, { readonly first: number; readonly end: number }>();
  #next = 0;

  constructor(init: EncodedCutterInit) {
    this.#init = init;
    const { tree, grid, plainKey, pace } = init;
    this.#atOnce = isPutAtOnce(grid.start(grid.count));
    const onFrame: ConstructorParameters<typeof FrameLine>[0]["onFrame"] = (frame) => {
      pace.levels = frameMade(pace.levels, frame);
    };
    this.#line = new FrameLine({ tree, grid, key: plainKey, onFrame });
  }

  /** Whether its last part was cut. */
  get isCut(): boolean {
    return this.#next === this.#init.grid.count;
  }

  /** Lengths and CRC-32s of its frames, once every part was cut. */
  get frames(): Frames {
    return { lengths: this.#lengths, crcs: this.#crcs };
  }

  /** Digest of a shard that was read. */
  digest(shard: number): string | undefined {
    return this.#line.digest(shard);
  }

  /** The next part. Without `keep` it comes without its body, which is made again when it is needed. */
  async next(wanted: Wanted, keep: () => boolean, signal: AbortSignal): Promise<ReadPart> {
    const first = this.#next;
    const held = await this.#heldAt(first, signal);
    if (held !== undefined) return { ...this.#cut(held), held: true };
    const copy = await this.#copyAt(first, signal);
    if (copy !== undefined) return { ...this.#cut(copy.run), from: copy.from };
    const { pace, tree, grid } = this.#init;
    if (zstd.canCompress) pace.levels = chooseLevel(pace.levels, wanted.linkBytesPerS);
    await this.#line.start(first, pace.levels.level);
    const body = new FrameBody(
      tree,
      Math.min(wanted.bytes + LIMITS.unitBytes, grid.bytes(first, grid.count)),
    );
    try {
      const run = await this.#make(
        first,
        body,
        (end) => this.#endsAt(end, body.size, wanted),
        signal,
      );
      const part = this.#cut(run);
      return keep() ? { ...part, body: body.take() } : part;
    } finally {
      body.release();
    }
  }

  /** A part that was cut before, with its body; where its frames cannot be made as they were, with other ones. */
  async again(part: ReadPart, signal: AbortSignal): Promise<ReadPart> {
    const cut = this.#runs.get(part.part);
    if (cut === undefined)
      throw new WaybillError("internal", `no part ${part.part} of ${part.key}`);
    const { grid, pace } = this.#init;
    const isSame = ({ size, crc32 }: ReadPart) => size === part.size && crc32 === part.crc32;
    const isPart = ({ size }: ReadPart) =>
      size >= LIMITS.s3MinPartBytes || this.#atOnce || cut.end === grid.count;
    for (const level of levelOrder(pace.levels.level)) {
      const made = await this.#makeBody(cut, level, isSame, signal);
      if (made !== undefined) return made;
    }
    const { level } = pace.levels;
    const other =
      (await this.#makeBody(cut, level, isPart, signal)) ??
      (await this.#makeBody(cut, 0, () => true, signal));
    if (other !== undefined) return other;
    throw new WaybillError("internal", `part ${part.part} of ${part.key} cannot be made again`);
  }

  async #makeBody(
    { first, end }: { readonly first: number; readonly end: number },
    level: Level,
    isGood: (part: ReadPart) => boolean,
    signal: AbortSignal,
  ): Promise<ReadPart | undefined> {
    const { tree, grid } = this.#init;
    await this.#line.start(first, level);
    const body = new FrameBody(tree, Math.min(grid.bytes(first, end), MAX_COPY_BYTES));
    try {
      const run = await this.#make(first, body, (next) => next === end, signal);
      const made = this.#describe(run);
      if (!isGood(made)) return undefined;
      this.#note(run);
      return { ...made, body: body.take() };
    } finally {
      body.release();
    }
  }

  /** Gives its memory free, but for what `again` needs. */
  async rest(): Promise<void> {
    await this.#line.rest();
  }

  /** Makes frames from `first` on into `body` until `ends` says that a shard is none of theirs any more. */
  async #make(
    first: number,
    body: { add(frame: Frame): void },
    ends: (end: number) => boolean,
    signal: AbortSignal,
  ): Promise<FrameRun> {
    const lengths: number[] = [];
    const crcs: number[] = [];
    let end = first;
    do {
      const frame = await this.#line.take(signal);
      lengths.push(frame.bytes.length);
      crcs.push(frame.crc32);
      body.add(frame);
      discard(frame.bytes);
      end += 1;
    } while (end < this.#init.grid.count && !ends(end));
    return { first, end, lengths, crcs };
  }

  /** Whether a part of `size` bytes that is sent ends before this shard. */
  #endsAt(end: number, size: number, wanted: Wanted): boolean {
    if (this.#atOnce || size < LIMITS.s3MinPartBytes) return false;
    const { grid, held, bases } = this.#init;
    const number = grid.partAt(end);
    if (number === undefined) return false;
    if (size >= wanted.bytes || held.parts.has(number)) return true;
    const digest = this.#line.digest(end);
    return digest !== undefined && bases?.has(digest) === true;
  }

  /** The part that is held from this shard on: the same frames, made once more. */
  async #heldAt(first: number, signal: AbortSignal): Promise<FrameRun | undefined> {
    const { grid, held, pace } = this.#init;
    const part = this.#atOnce ? held.whole : held.parts.get(grid.partAt(first) ?? 0);
    if (part === undefined || pace.heldMisses >= MAX_HELD_MISSES) return undefined;
    for (const level of levelOrder(pace.lastHeld ?? pace.levels.level)) {
      const run = await this.#remake(first, part, level, signal);
      if (run === undefined) continue;
      pace.lastHeld = level;
      // Whoever goes on goes on as before, until the link says otherwise.
      pace.levels = { ...pace.levels, level };
      return run;
    }
    // What differs because the file changed is no reason to trust no other part.
    if (pace.lastHeld === undefined) pace.heldMisses += 1;
    return undefined;
  }

  async #remake(
    first: number,
    { size, crc32: wanted }: HeldPart,
    level: Level,
    signal: AbortSignal,
  ): Promise<FrameRun | undefined> {
    const { grid } = this.#init;
    if (level === 0 && !this.#mayBeStored(first, size)) return undefined;
    let made = 0;
    const body = { add: ({ bytes }: Frame) => void (made += bytes.length) };
    await this.#line.start(first, level);
    const run = await this.#make(first, body, () => made >= size, signal);
    const ends = this.#atOnce ? run.end === grid.count : grid.isEdge(run.end);
    return made === size && ends && this.#describe(run).crc32 === wanted ? run : undefined;
  }

  /** Whether stored frames from this shard on can have so many bytes: known without making them. */
  #mayBeStored(first: number, size: number): boolean {
    const { grid } = this.#init;
    let bytes = 0;
    for (let shard = first; shard < grid.count && bytes < size; shard++) {
      bytes += storedFrameBytes(grid.bytes(shard, shard + 1));
    }
    return bytes === size;
  }

  /** What a base has from this shard on, as one part. */
  async #copyAt(
    first: number,
    signal: AbortSignal,
  ): Promise<{ readonly run: FrameRun; readonly from: EncodedMatch["from"] } | undefined> {
    const { bases, grid } = this.#init;
    if (bases === undefined) return undefined;
    const lengths: number[] = [];
    const crcs: number[] = [];
    let from: EncodedMatch["from"] | undefined;
    let last: EncodedMatch | undefined;
    let bytes = 0;
    /** Shards that make a part, and the last shard that may end one. */
    let count = 0;
    for (let shard = first; shard < grid.count && bytes < MAX_COPY_BYTES; shard++) {
      await this.#line.readTo(shard + 1, signal);
      const match: EncodedMatch | undefined = bases.match(this.#line.digest(shard) ?? "", last);
      if (match === undefined || (last !== undefined && !match.follows)) break;
      from ??= match.from;
      last = match;
      lengths.push(match.frameBytes);
      crcs.push(match.frameCrc);
      bytes += match.frameBytes;
      const isEnd = shard + 1 === grid.count;
      const isPart = isEnd || (bytes >= LIMITS.s3MinPartBytes && grid.isEdge(shard + 1));
      if (isPart) count = shard + 1 - first;
    }
    // As a whole object (part 0) only a whole one can be copied.
    const isWhole = last?.endsObject === true && from?.start === 0 && count === grid.count;
    if (count === 0 || from === undefined || (this.#atOnce && !isWhole)) return undefined;
    const run = {
      first,
      end: first + count,
      lengths: lengths.slice(0, count),
      crcs: crcs.slice(0, count),
    };
    return { run, from };
  }

  /** Takes a run as the next part. */
  #cut(run: FrameRun): ReadPart {
    const part = this.#describe(run);
    this.#note(run);
    this.#runs.set(part.part, { first: run.first, end: run.end });
    this.#next = run.end;
    return part;
  }

  #note({ first, lengths, crcs }: FrameRun): void {
    for (const [at, length] of lengths.entries()) {
      this.#lengths[first + at] = length;
      this.#crcs[first + at] = crcs[at] ?? 0;
    }
  }

  #describe({ first, end, lengths, crcs }: FrameRun): ReadPart {
    const { key, grid } = this.#init;
    const sum = new CombinedCrc32();
    for (const [at, length] of lengths.entries()) sum.append(crcs[at] ?? 0, length);
    const number = this.#atOnce ? 0 : grid.partAt(first);
    if (number === undefined)
      throw new WaybillError("internal", `no part of ${key} begins at shard ${first}`);
    return {
      key,
      part: number,
      size: lengths.reduce((total, length) => total + length, 0),
      offset: grid.start(first),
      plainBytes: grid.bytes(first, end),
      crc32: crc32Base64(sum.value),
    };
  }
}

/** Levels in the order in which they are tried, the likeliest first. */
function levelOrder(likely: Level): Level[] {
  if (!zstd.canCompress) return [0];
  return [likely, ...LEVELS.filter((level) => level !== likely)];
}

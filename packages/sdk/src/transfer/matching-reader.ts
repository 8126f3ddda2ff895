// Cuts a tree into parts while it is compared with artifacts of the room: what one of them has is copied by the store
// instead of sent. Blocks are kept until it is known whether they are part of a copy: what a part may have, 5 MiB to see
// ahead and two windows of the matcher.
import { manifestObjects } from "../artifact/index.ts";
import { type Base, MatchStream, type MatchedRange, ShardIndex } from "../delta/index.ts";
import {
  type ArtifactFile,
  type ArtifactId,
  type ArtifactManifest,
  LIMITS,
  isPutAtOnce,
} from "../protocol/index.ts";
import { EncodedBases } from "./encoded-bases.ts";
import { startCompression } from "./compression-pace.ts";
import type { Wanted } from "./encoded-cutter.ts";
import { EncodedObjects } from "./encoded-objects.ts";
import { NOTHING_HELD } from "./held-parts.ts";
import { type Cut, type MatchRun, addRun, copiedAhead, cutMatched } from "./part-cutter.ts";
import type { PartFeed, PartReaderInit, ReadPart } from "./part-reader.ts";
import { CombinedCrc32, crc32Base64 } from "./shard-hasher.ts";
import { type PartBody, TreeBytes, type TreeSpan } from "./tree-bytes.ts";
import { type TreeLayout, partNumberAt } from "./upload-plan.ts";

/** Every unit is a multiple of this, so every part consists of whole blocks. */
const BLOCK_BYTES = LIMITS.unitBytes;

/** Artifacts a push is compared with, best first. */
export type MatchBases = {
  readonly bases: readonly Base[];
  /** One of them, whose files have the tree's paths and sizes: the tree may be it. */
  readonly twin?: Base;
};

/** Without `span`: what will be copied is not kept. */
type Block = { readonly bytes: number; readonly crc32: number; readonly span?: TreeSpan };
type TreeObject = TreeLayout["objects"][number];

export class MatchingReader implements PartFeed {
  readonly #layout: TreeLayout;
  readonly #held: PartReaderInit["held"];
  readonly #tree: TreeBytes;
  readonly #encoded: EncodedObjects;
  readonly #bases: readonly Base[];
  readonly #matcher: MatchStream;
  /** Sizes of the bases' objects that are stored as they are, by base and key. */
  readonly #stored: readonly ReadonlyMap<string, number>[];
  #twin: Base | undefined;
  /** Shards of the current file that were compared with the twin's. */
  #compared = { file: -1, shards: 0 };
  #object = 0;
  /** Where the object begins in all files end to end. */
  #objectStart = 0;
  /** Where the next part begins in it, and how far it was read. */
  #offset = 0;
  #readTo = 0;
  #blocks: Block[] = [];
  #runs: MatchRun[] = [];
  #ahead: Promise<TreeSpan> | undefined;
  /** Calls are served one after the other. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(init: PartReaderInit & { readonly bases: MatchBases }) {
    const { scan, layout, held, bases, compression = startCompression(true) } = init;
    this.#layout = layout;
    this.#held = held;
    this.#tree = new TreeBytes(scan, layout);
    const { twin } = bases;
    this.#bases = bases.bases;
    this.#twin = twin;
    const index = new ShardIndex(bases.bases);
    this.#matcher = new MatchStream(index);
    this.#encoded = new EncodedObjects({
      scan,
      layout,
      held,
      tree: this.#tree,
      compression,
      bases: new EncodedBases(index),
    });
    this.#stored = bases.bases.map(({ manifest }) => plainObjects(manifest));
  }

  get twin(): ArtifactId | undefined {
    return this.#twin?.artifact;
  }

  next(wanted: Wanted, signal: AbortSignal): Promise<ReadPart | undefined> {
    const part = this.#queue.then(async () => this.#next(wanted, signal));
    this.#queue = part.catch(() => undefined);
    return part;
  }

  async again(part: ReadPart, signal: AbortSignal): Promise<ReadPart> {
    if (part.plainBytes !== undefined) {
      // Its cutter may be at work on a later part.
      const made = this.#queue.then(async () => this.#encoded.again(part, signal));
      this.#queue = made.catch(() => undefined);
      return made;
    }
    return { ...part, body: await this.#tree.readAgain(part, signal) };
  }

  stored(): ArtifactManifest["stored"] {
    return this.#encoded.stored();
  }

  files(): ArtifactFile[] {
    return this.#tree.manifestFiles();
  }

  async close(): Promise<void> {
    await this.#queue;
    await this.#ahead?.catch(() => undefined);
    await this.#encoded.close();
    await this.#tree.close();
  }

  async #next(wanted: Wanted, signal: AbortSignal): Promise<ReadPart | undefined> {
    for (;;) {
      const object = this.#layout.objects[this.#object];
      if (object === undefined) return undefined;
      if (object.encoding !== undefined) return this.#nextEncoded(object, wanted, signal);
      const cut = this.#cut(object, wanted.bytes);
      if (cut !== undefined) return this.#produce(object, cut);
      await this.#readBlock(object, signal);
    }
  }

  /** The next part of an encoded object, whose shards are looked for in encoded objects of the bases. */
  async #nextEncoded(object: TreeObject, wanted: Wanted, signal: AbortSignal): Promise<ReadPart> {
    const cutter = this.#encoded.cutter(object.key);
    const keep = () => {
      this.#compareUpTo(object);
      return this.#twin === undefined;
    };
    const part = await cutter.next(wanted, keep, signal);
    keep();
    if (cutter.isCut) this.#object += 1;
    return part;
  }

  /** Compares what was read of an encoded object's files with the twin's. */
  #compareUpTo({ key }: TreeObject): void {
    const { files } = this.#twin?.manifest ?? { files: [] };
    let file = Math.max(this.#compared.file, this.#encoded.firstFile(key));
    for (; file < files.length && this.#twin !== undefined; file++) {
      this.#compareWithTwin(file);
      const { shards = [] } = files[file] ?? {};
      if (this.#tree.digests(file).length < shards.length) break;
      if (this.#layout.layout === "plain") break;
    }
  }

  /** The next part of the object; undefined while more of it must be read. */
  #cut(object: TreeObject, wantedBytes: number): Cut | undefined {
    const { key, size } = object;
    const ended = this.#readTo === size;
    const held = this.#held.get(key) ?? NOTHING_HELD;
    if (isPutAtOnce(size)) {
      // An empty object still has its files to be read.
      if (!ended || (size === 0 && this.#blocks.length === 0)) return undefined;
      if (held.whole?.size === size) return { type: "held", size, held: held.whole };
      const [run] = this.#runs;
      const from = run?.size === size ? run.from : undefined;
      const isWhole = from?.start === 0 && this.#stored[from.base]?.get(from.key) === size;
      return isWhole ? { type: "copy", size, from } : { type: "send", size };
    }
    const { rule } = this.#layout;
    const input = { offset: this.#offset, objectBytes: size, rule, held, wantedBytes };
    const cut = cutMatched(input, this.#runs, ended);
    return cut !== undefined && this.#offset + cut.size <= this.#readTo ? cut : undefined;
  }

  #produce(object: TreeObject, cut: Cut): ReadPart {
    const { key, size: objectBytes } = object;
    const offset = this.#offset;
    const number = isPutAtOnce(objectBytes) ? 0 : partNumberAt(offset, this.#layout.rule);
    const blocks = this.#takeBlocks(cut.size);
    const sum = new CombinedCrc32();
    for (const { bytes, crc32 } of blocks) sum.append(crc32, bytes);
    const crc = crc32Base64(sum.value);
    this.#advance(object, cut.size);
    const part = { key, part: number, size: cut.size, offset, crc32: crc };
    const isHeld =
      this.#held.get(key)?.joined === true || (cut.type === "held" && cut.held.crc32 === crc);
    const spans = blocks.flatMap(({ span }) => span ?? []);
    // What may turn out to be the twin's stays out of memory; it is read again if it does not.
    const isKept = spans.length === blocks.length && this.#twin === undefined;
    if (!isHeld && cut.type !== "copy" && isKept) {
      return { ...part, body: this.#gathered(spans, cut.size) };
    }
    for (const span of spans) span.release();
    if (isHeld) return { ...part, held: true };
    return cut.type === "copy" ? { ...part, from: cut.from } : part;
  }

  /** Spans become one body. */
  #gathered(spans: readonly TreeSpan[], size: number): PartBody {
    const [only] = spans;
    if (only !== undefined && spans.length === 1) return only;
    const { buffer, release } = this.#tree.buffer(size);
    let at = 0;
    for (const span of spans) {
      buffer.set(span.bytes, at);
      at += span.bytes.length;
      span.release();
    }
    return { bytes: buffer.subarray(0, size), release };
  }

  #takeBlocks(size: number): Block[] {
    let bytes = 0;
    let count = 0;
    for (const block of this.#blocks) {
      if (bytes >= size && size > 0) break;
      bytes += block.bytes;
      count += 1;
    }
    return this.#blocks.splice(0, count);
  }

  #advance({ size }: TreeObject, bytes: number): void {
    this.#offset += bytes;
    const from = this.#offset;
    if (from < size) {
      this.#runs = this.#runs.filter((run) => run.start + run.size > from);
      return;
    }
    this.#object += 1;
    this.#objectStart += size;
    this.#offset = 0;
    this.#readTo = 0;
    this.#runs = [];
  }

  async #readBlock(object: TreeObject, signal: AbortSignal): Promise<void> {
    const span = await (this.#ahead ?? this.#read(object, this.#readTo, signal));
    this.#ahead = undefined;
    this.#readTo += span.bytes.length;
    if (this.#readTo < object.size) {
      this.#ahead = this.#read(object, this.#readTo, signal);
      // Reported when it is waited for.
      this.#ahead.catch(() => undefined);
    }
    this.#blocks.push({ span, bytes: span.bytes.length, crc32: this.#tree.hash(span) });
    for (const slice of span.slices) {
      this.#compareWithTwin(slice.fileIndex);
      if (slice.offset === 0) this.#beginFile(slice);
      const bytes = span.bytes.subarray(slice.at, slice.at + slice.size);
      for (const range of this.#matcher.take(bytes)) addRun(this.#runs, this.#runOf(range));
    }
    this.#dropCopied(object);
  }

  /** Gives the memory of blocks free that are inside a copy to come. */
  #dropCopied({ key, size }: TreeObject): void {
    if (isPutAtOnce(size)) return;
    const { rule } = this.#layout;
    const held = this.#held.get(key) ?? NOTHING_HELD;
    const input = { offset: this.#offset, objectBytes: size, rule, held, wantedBytes: 0 };
    let left = copiedAhead(input, this.#runs, this.#readTo === size);
    for (const [at, { span, ...block }] of this.#blocks.entries()) {
      left -= block.bytes;
      if (left < 0) break;
      if (span === undefined) continue;
      span.release();
      this.#blocks[at] = block;
    }
  }

  #read(object: TreeObject, from: number, signal: AbortSignal): Promise<TreeSpan> {
    return this.#tree.read(Math.min(BLOCK_BYTES, object.size - from), signal);
  }

  #beginFile({ file, fileIndex }: TreeSpan["slices"][number]): void {
    const { shardBytes } = this.#layout;
    const digestOf = (shard: number) =>
      (shard + 1) * shardBytes <= file.size ? this.#tree.digests(fileIndex)[shard] : undefined;
    const known = shardBytes === this.#bases[0]?.manifest.shardBytes ? { digestOf } : {};
    this.#matcher.beginFile({ path: file.path, size: file.size, ...known });
  }

  /** A range of the stream as a run of the object; bytes of encoded objects cannot be copied. */
  #runOf({ start, size, from }: MatchedRange): MatchRun {
    const run = { start: start - this.#objectStart, size };
    if (from === undefined || this.#stored[from.base]?.has(from.key) !== true) return run;
    return { ...run, from: { base: from.base, key: from.key, start: from.offset } };
  }

  #compareWithTwin(file: number): void {
    const expected = this.#twin?.manifest.files[file]?.shards;
    if (this.#twin === undefined) return;
    if (this.#compared.file !== file) this.#compared = { file, shards: 0 };
    const digests = this.#tree.digests(file);
    for (let at = this.#compared.shards; at < digests.length; at++) {
      if (digests[at] !== expected?.[at]) this.#twin = undefined;
    }
    this.#compared.shards = digests.length;
  }
}

/** Sizes of the objects that are stored as they are. */
function plainObjects(manifest: Base["manifest"]): ReadonlyMap<string, number> {
  const objects = manifestObjects(manifest).filter(({ encoding }) => encoding === undefined);
  return new Map(objects.map(({ key, size }) => [key, size]));
}

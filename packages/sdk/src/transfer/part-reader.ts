// Cuts a tree into parts while it is read, and says of each how it comes: to be sent, held by the store, or copied
// by it. The bytes of a part are read into one buffer, hashed, and sent from it; those of an encoded object become
// frames on the way (encoded-cutter.ts).
import type { TreeScan } from "../artifact/index.ts";
import { nextTurn } from "../platform/index.ts";
import {
  type ArtifactFile,
  type ArtifactId,
  type ArtifactManifest,
  isPutAtOnce,
} from "../protocol/index.ts";
import { type CompressionPace, startCompression } from "./compression-pace.ts";
import type { EncodedCutter, Wanted } from "./encoded-cutter.ts";
import { EncodedObjects } from "./encoded-objects.ts";
import { type HeldObject, NOTHING_HELD } from "./held-parts.ts";
import { type CopySource, cutPart } from "./part-cutter.ts";
import { crc32Base64 } from "./shard-hasher.ts";
import { type PartBody, TreeBytes } from "./tree-bytes.ts";
import { type CutPart, type TreeLayout, partNumberAt } from "./upload-plan.ts";

/** The next part of a tree, and how it comes. */
export type ReadPart = CutPart & {
  readonly crc32: string;
  /** Absent when the sink holds it (`held`), can copy it (`from`), or holds other bytes in its place. */
  readonly body?: PartBody;
  readonly held?: boolean;
  readonly from?: CopySource;
};

/** Gives the parts of a tree in order; at the end it knows the files' digests. */
export interface PartFeed {
  /** The next part, of about the size that is wanted; undefined after the last. Calls may overlap. */
  next(wanted: Wanted, signal: AbortSignal): Promise<ReadPart | undefined>;
  /**
   * A part that came before, with its body; throws `source_changed` when the tree's bytes are others now. An encoded
   * one that cannot be made as it was (its frames are of another library) has another size and CRC-32.
   */
  again(part: ReadPart, signal: AbortSignal): Promise<ReadPart>;
  /** The manifest's files, once every part was read. */
  files(): ArtifactFile[];
  /** The manifest's `stored`, once every part was read. */
  stored(): ArtifactManifest["stored"];
  /** The artifact that everything so far equals in place; undefined when there is none. */
  readonly twin: ArtifactId | undefined;
  close(): Promise<void>;
}

export type PartReaderInit = {
  readonly scan: TreeScan;
  readonly layout: TreeLayout;
  readonly held: ReadonlyMap<string, HeldObject>;
  /** What encoded objects are compressed at; level 1 and then what suits the link when absent. */
  readonly compression?: CompressionPace | undefined;
};

/** A part that is on its way from the disk. */
type Started = { readonly part: Promise<ReadPart | undefined> };

/** Reads the parts of one tree that is not compared with others. */
export class PartReader implements PartFeed {
  readonly twin = undefined;
  readonly #layout: TreeLayout;
  readonly #held: ReadonlyMap<string, HeldObject>;
  readonly #tree: TreeBytes;
  readonly #encoded: EncodedObjects;
  /** The object and offset where the next part begins. */
  #object = 0;
  #offset = 0;
  /** Where a part ends is known before it is read, but for encoded ones. */
  #planning: Promise<unknown> = Promise.resolve();
  /** Parts are hashed in order, each while the next is filled. */
  #hashing: Promise<unknown> = Promise.resolve();

  constructor({ scan, layout, held, compression = startCompression(true) }: PartReaderInit) {
    this.#layout = layout;
    this.#held = held;
    this.#tree = new TreeBytes(scan, layout);
    this.#encoded = new EncodedObjects({ scan, layout, held, tree: this.#tree, compression });
  }

  async next(wanted: Wanted, signal: AbortSignal): Promise<ReadPart | undefined> {
    const started = this.#planning.then(async () => this.#start(wanted, signal));
    this.#planning = started.catch(() => undefined);
    const { part } = await started;
    return part;
  }

  async again(part: ReadPart, signal: AbortSignal): Promise<ReadPart> {
    if (part.plainBytes !== undefined) return this.#encoded.again(part, signal);
    return { ...part, body: await this.#tree.readAgain(part, signal) };
  }

  files(): ArtifactFile[] {
    return this.#tree.manifestFiles();
  }

  stored(): ArtifactManifest["stored"] {
    return this.#encoded.stored();
  }

  async close(): Promise<void> {
    await this.#planning;
    await this.#hashing;
    await this.#encoded.close();
    await this.#tree.close();
  }

  async #start(wanted: Wanted, signal: AbortSignal): Promise<Started> {
    const object = this.#layout.objects[this.#object];
    if (object?.encoding === undefined) return this.#startPlain(wanted.bytes, signal);
    // The parts before have their bytes, and their shards their numbers.
    await this.#hashing;
    const cutter = this.#encoded.cutter(object.key);
    const part = await cutter.next(wanted, () => true, signal);
    if (cutter.isCut) await this.#finish(cutter);
    return { part: Promise.resolve(part) };
  }

  async #finish(cutter: EncodedCutter): Promise<void> {
    await cutter.rest();
    this.#object += 1;
  }

  #startPlain(wantedBytes: number, signal: AbortSignal): Started {
    const planned = this.#plan(wantedBytes);
    if (planned === undefined) return { part: this.#hashing.then(() => undefined) };
    const { part, expected } = planned;
    const reading = this.#tree.read(part.size, signal);
    const hashed = this.#hashing.then(async () => {
      const read = await reading;
      // A turn later the next part's read is under way: disk and processor overlap.
      await nextTurn();
      return { body: read, sum: this.#tree.hash(read) };
    });
    this.#hashing = hashed.catch(() => undefined);
    const done = hashed.then(({ body, sum }): ReadPart => {
      const crc = crc32Base64(sum);
      if (expected !== "joined" && expected !== crc) return { ...part, crc32: crc, body };
      body.release();
      return { ...part, crc32: crc, held: true };
    });
    // Reported by `next`, which is told of it a turn later.
    done.catch(() => undefined);
    return { part: done };
  }

  /** Cuts the next part; `expected`: the CRC-32 the sink holds there. */
  #plan(
    wantedBytes: number,
  ): { readonly part: CutPart; readonly expected: string | undefined } | undefined {
    const object = this.#layout.objects[this.#object];
    if (object === undefined) return undefined;
    const { key, size } = object;
    const held = this.#held.get(key) ?? NOTHING_HELD;
    const offset = this.#offset;
    const advance = (bytes: number) => {
      this.#offset += bytes;
      if (this.#offset < size) return;
      this.#object += 1;
      this.#offset = 0;
    };
    if (isPutAtOnce(size)) {
      advance(size);
      const whole = held.whole?.size === size ? held.whole.crc32 : undefined;
      return { part: { key, part: 0, size, offset: 0 }, expected: whole };
    }
    const { rule } = this.#layout;
    const cut = cutPart({ offset, objectBytes: size, rule, held, wantedBytes });
    advance(cut.size);
    const part = { key, part: partNumberAt(offset, rule), size: cut.size, offset };
    if (held.joined) return { part, expected: "joined" };
    return { part, expected: cut.type === "held" ? cut.held.crc32 : undefined };
  }
}

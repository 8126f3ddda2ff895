// Cuts a tree into parts while it is read, and says of each how it comes: to be sent, held by the store, or copied
// by it. The bytes of a part are read into one buffer, hashed, and sent from it.
import type { TreeScan } from "../artifact/index.ts";
import { nextTurn } from "../platform/index.ts";
import { type ArtifactFile, type ArtifactId, isPutAtOnce } from "../protocol/index.ts";
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
  /** The next part, of about this size; undefined after the last. Calls may overlap. */
  next(wantedBytes: number, signal: AbortSignal): Promise<ReadPart | undefined>;
  /** The bytes of a part that came before, once more; throws `source_changed` when they differ. */
  again(part: CutPart & { readonly crc32: string }, signal: AbortSignal): Promise<PartBody>;
  /** The manifest's files, once every part was read. */
  files(): ArtifactFile[];
  /** The artifact that everything so far equals in place; undefined when there is none. */
  readonly twin: ArtifactId | undefined;
  close(): Promise<void>;
}

export type PartReaderInit = {
  readonly scan: TreeScan;
  readonly layout: TreeLayout;
  readonly held: ReadonlyMap<string, HeldObject>;
};

/** Reads the parts of one tree that is not compared with others. */
export class PartReader implements PartFeed {
  readonly twin = undefined;
  readonly #layout: TreeLayout;
  readonly #held: ReadonlyMap<string, HeldObject>;
  readonly #tree: TreeBytes;
  /** The object and offset where the next part begins. */
  #object = 0;
  #offset = 0;
  /** Parts are hashed in order, each while the next is filled. */
  #hashing: Promise<unknown> = Promise.resolve();

  constructor({ scan, layout, held }: PartReaderInit) {
    this.#layout = layout;
    this.#held = held;
    this.#tree = new TreeBytes(scan, layout);
  }

  async next(wantedBytes: number, signal: AbortSignal): Promise<ReadPart | undefined> {
    const planned = this.#plan(wantedBytes);
    if (planned === undefined) {
      await this.#hashing;
      return undefined;
    }
    const { part, expected } = planned;
    const reading = this.#tree.read(part.size, signal);
    const hashed = this.#hashing.then(async () => {
      const read = await reading;
      // A turn later the next part's read is under way: disk and processor overlap.
      await nextTurn();
      return { body: read, sum: this.#tree.hash(read) };
    });
    this.#hashing = hashed.catch(() => undefined);
    const { body, sum } = await hashed;
    const crc = crc32Base64(sum);
    if (expected !== "joined" && expected !== crc) return { ...part, crc32: crc, body };
    body.release();
    return { ...part, crc32: crc, held: true };
  }

  again(part: CutPart & { readonly crc32: string }, signal: AbortSignal): Promise<PartBody> {
    return this.#tree.readAgain(part, signal);
  }

  files(): ArtifactFile[] {
    return this.#tree.manifestFiles();
  }

  async close(): Promise<void> {
    await this.#hashing;
    await this.#tree.close();
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

// The encoded objects of a tree, one after the other: their cutters, and what the manifest says of them in the end.
import { type TreeScan, describeEncoding } from "../artifact/index.ts";
import { type ArtifactManifest, WaybillError } from "../protocol/index.ts";
import type { EncodedBases } from "./encoded-bases.ts";
import type { CompressionPace } from "./compression-pace.ts";
import { EncodedCutter } from "./encoded-cutter.ts";
import { type HeldObject, NOTHING_HELD } from "./held-parts.ts";
import { ShardGrid } from "./shard-grid.ts";
import type { ReadPart } from "./part-reader.ts";
import type { TreeBytes } from "./tree-bytes.ts";
import type { TreeLayout } from "./upload-plan.ts";

export type EncodedObjectsInit = {
  readonly scan: TreeScan;
  readonly layout: TreeLayout;
  readonly held: ReadonlyMap<string, HeldObject>;
  readonly tree: TreeBytes;
  readonly compression: CompressionPace;
  readonly bases?: EncodedBases | undefined;
};

export class EncodedObjects {
  readonly #init: EncodedObjectsInit;
  readonly #files: ReadonlyMap<string, number>;
  /** By key. Those of whole small objects stay: their parts may have to be made again. */
  readonly #cutters = new Map<string, EncodedCutter>();

  constructor(init: EncodedObjectsInit) {
    this.#init = init;
    const { scan, layout } = init;
    const isEncoded = layout.objects.some(({ encoding }) => encoding !== undefined);
    this.#files = new Map(isEncoded ? scan.files.map(({ path }, index) => [path, index]) : []);
  }

  /** The cutter of an encoded object of the layout. */
  cutter(key: string): EncodedCutter {
    const known = this.#cutters.get(key);
    if (known !== undefined) return known;
    const { layout, scan, held, tree, bases, compression } = this.#init;
    const plainKey = plainKeyOf(key);
    const file = scan.files[this.#files.get(plainKey) ?? -1];
    if (layout.layout === "plain" && file === undefined) {
      throw new WaybillError("internal", `the tree has no file ${plainKey}`);
    }
    const { shardBytes, rule } = layout;
    const files = layout.layout === "packed" || file === undefined ? scan.files : [file];
    const cutter = new EncodedCutter({
      key,
      plainKey,
      grid: new ShardGrid(files, { shardBytes, unitBytes: rule.unitBytes }),
      tree,
      held: held.get(key) ?? NOTHING_HELD,
      bases,
      pace: compression,
    });
    this.#cutters.set(key, cutter);
    return cutter;
  }

  /** A part that came before, with its body (`PartFeed.again`). Not while another part is cut. */
  async again(part: ReadPart, signal: AbortSignal): Promise<ReadPart> {
    const cutter = this.cutter(part.key);
    try {
      return await cutter.again(part, signal);
    } finally {
      if (cutter.isCut) await cutter.rest();
    }
  }

  /** Index of the first file that an object holds. */
  firstFile(key: string): number {
    return this.#files.get(plainKeyOf(key)) ?? 0;
  }

  /** `stored` of the manifest; undefined without encoded objects. */
  stored(): ArtifactManifest["stored"] {
    if (this.#cutters.size === 0) return undefined;
    return Object.fromEntries(
      [...this.#cutters].map(([key, { frames }]) => [
        key,
        describeEncoding(plainKeyOf(key), frames.lengths, frames.crcs),
      ]),
    );
  }

  async close(): Promise<void> {
    for (const cutter of this.#cutters.values()) await cutter.rest();
  }
}

function plainKeyOf(key: string): string {
  return key.slice(0, -".zst".length);
}

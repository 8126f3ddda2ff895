// Finds shards of known artifacts by digest (where they lie) and by CRC-32 (whether a window is worth hashing).
// Places are numbers through all bases; digests stay in the manifests, tables hold four bytes a slot.
import { decodeCrcs } from "../artifact/index.ts";
import type { Digest } from "../protocol/index.ts";
import type { Base } from "./base.ts";
import { WeakSums } from "./weak-sums.ts";

/** A shard of a base. */
export type Place = { readonly base: number; readonly shard: number };
/** A file of a base. */
export type BaseFile = { readonly base: number; readonly file: number };

export type ShardIndexOptions = {
  /** Length of the windows that are rolled; by default the first base's `shardBytes`. Other bases' full shards are found only where theirs is the same. */
  readonly windowBytes?: number;
};

export class ShardIndex {
  readonly bases: readonly Base[];
  readonly windowBytes: number;
  /** CRC-32s of the full shards of `windowBytes`. */
  readonly weak: WeakSums;
  /** First place of each base; one more entry than bases. */
  readonly #firstPlace: number[] = [0];
  /** Open-addressed: place + 1, or 0; only one place for each digest, in the order of the bases. */
  readonly #slots: Uint32Array;
  readonly #files = new Map<string, BaseFile>();

  /** Bases in order of preference. Throws `invalid_request` when a manifest's `crcs` are not base64. */
  constructor(bases: readonly Base[], options: ShardIndexOptions = {}) {
    this.bases = bases;
    this.windowBytes = options.windowBytes ?? bases[0]?.manifest.shardBytes ?? 1;
    let places = 0;
    for (const { map } of bases) this.#firstPlace.push((places += map.count));
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(16, places * 2))));
    const crcs: number[] = [];
    for (const [base, { manifest, map }] of bases.entries()) {
      for (const [file, { path, shards, size, crcs: sums }] of manifest.files.entries()) {
        if (!this.#files.has(path)) this.#files.set(path, { base, file });
        const { first } = map.shardsOf(file);
        for (const [at, digest] of shards.entries()) {
          this.#add(digest, (this.#firstPlace[base] ?? 0) + first + at);
        }
        if (manifest.shardBytes !== this.windowBytes || sums === undefined) continue;
        const full = Math.floor(size / this.windowBytes);
        for (const crc of decodeCrcs(sums).subarray(0, full)) crcs.push(crc);
      }
    }
    this.weak = new WeakSums(crcs);
  }

  /** A shard with this digest, in the first base that has one. */
  find(digest: string): Place | undefined {
    for (let slot = this.#slotOf(digest); ; slot = (slot + 1) & (this.#slots.length - 1)) {
      const held = this.#slots[slot] ?? 0;
      if (held === 0) return undefined;
      const place = this.#placeOf(held - 1);
      if (this.digestOf(place) === digest) return place;
    }
  }

  /** The file of this path in the first base that has one. */
  fileAt(path: string): BaseFile | undefined {
    return this.#files.get(path);
  }

  digestOf({ base, shard }: Place): Digest | undefined {
    const map = this.bases[base]?.map;
    return map === undefined || shard >= map.count ? undefined : map.locate(shard).digest;
  }

  #add(digest: Digest, place: number): void {
    let slot = this.#slotOf(digest);
    for (;;) {
      const held = this.#slots[slot] ?? 0;
      if (held === 0) break;
      // Runs of equal shards (zeros) would make the table a list.
      if (this.digestOf(this.#placeOf(held - 1)) === digest) return;
      slot = (slot + 1) & (this.#slots.length - 1);
    }
    this.#slots[slot] = place + 1;
  }

  #placeOf(place: number): Place {
    let base = 0;
    while (place >= (this.#firstPlace[base + 1] ?? Number.POSITIVE_INFINITY)) base += 1;
    return { base, shard: place - (this.#firstPlace[base] ?? 0) };
  }

  #slotOf(digest: string): number {
    return Number.parseInt(digest.slice(0, 8), 16) & (this.#slots.length - 1);
  }
}

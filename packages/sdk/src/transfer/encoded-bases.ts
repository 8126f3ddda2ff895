// What of an encoded object the room holds already: shards of encoded objects of the bases, by digest. Their frames can
// be copied as they are; the manifests say how long they are and what CRC-32 they have.
import type { Base, Place, ShardIndex } from "../delta/index.ts";
import type { CopySource } from "./part-cutter.ts";

/** A shard that a base has as a frame. */
export type EncodedMatch = {
  readonly place: Place;
  readonly from: CopySource;
  readonly frameBytes: number;
  readonly frameCrc: number;
  /** Its frame is the one behind that of the match before. */
  readonly follows: boolean;
  /** It is the last of its object. */
  readonly endsObject: boolean;
};

export class EncodedBases {
  readonly #index: ShardIndex;

  constructor(index: ShardIndex) {
    this.#index = index;
  }

  /** Whether some base has a shard of this digest as a frame. */
  has(digest: string): boolean {
    return this.match(digest, undefined) !== undefined;
  }

  /** The frame of a shard with this digest, best the one behind `last`. */
  match(digest: string, last: Pick<EncodedMatch, "place"> | undefined): EncodedMatch | undefined {
    const next = last === undefined ? undefined : this.#behind(last.place);
    if (next !== undefined && this.#index.digestOf(next) === digest) return this.#at(next, true);
    const place = this.#index.find(digest);
    return place === undefined ? undefined : this.#at(place, false);
  }

  #behind({ base, shard }: Place): Place | undefined {
    const end = this.#base(base)?.map.objectEnd(shard) ?? 0;
    return shard + 1 < end ? { base, shard: shard + 1 } : undefined;
  }

  #at(place: Place, follows: boolean): EncodedMatch | undefined {
    const map = this.#base(place.base)?.map;
    const range = map?.rangeOf({ first: place.shard, count: 1 });
    const frameCrc = map?.frameCrc(place.shard);
    if (map === undefined || range?.encoded === undefined || frameCrc === undefined)
      return undefined;
    return {
      place,
      from: { base: place.base, key: range.key, start: range.start },
      frameBytes: range.size,
      frameCrc,
      follows,
      endsObject: map.objectEnd(place.shard) === place.shard + 1,
    };
  }

  #base(base: number): Base | undefined {
    return this.#index.bases[base];
  }
}

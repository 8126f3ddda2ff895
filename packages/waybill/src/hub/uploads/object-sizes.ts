// What an upload's objects must be in storage, as its manifest says: the manifest's objects are the plan's, and an
// encoded one has the bytes of its frames between any two plain offsets.
import { ShardMap, encodedKey, manifestObjects } from "@waybill/sdk/artifact";
import {
  type ArtifactManifest,
  PACK_KEY,
  type UploadPlan,
  WaybillError,
} from "@waybill/sdk/protocol";
import { plannedObject } from "./upload-doc.ts";

export class ObjectSizes {
  readonly #manifest: ArtifactManifest;
  readonly #storedBytes: ReadonlyMap<string, number>;
  #map: ShardMap | undefined;

  /** Throws `digest_mismatch` when the manifest names other objects than were planned. */
  constructor(plan: UploadPlan, manifest: ArtifactManifest) {
    this.#manifest = manifest;
    if (manifest.layout !== plan.layout) {
      throw wrongManifest(`is ${manifest.layout}, the upload ${plan.layout}`);
    }
    const objects = manifestObjects(manifest);
    for (const { key, size, encoding } of objects) {
      const planned = plannedObject(plan, key);
      if (planned?.size !== size || planned.encoding !== encoding) {
        throw wrongManifest(`names ${key} with ${size} bytes, which was not uploaded`);
      }
    }
    if (objects.length !== plan.objects.length) {
      throw wrongManifest(`names ${objects.length} objects, ${plan.objects.length} were uploaded`);
    }
    this.#storedBytes = new Map(objects.map(({ key, storedBytes }) => [key, storedBytes]));
  }

  /** Stored bytes of a whole object. */
  storedBytes(key: string): number {
    return this.#storedBytes.get(key) ?? 0;
  }

  /** Stored bytes of an object between two plain offsets: those of the frames that begin there. */
  between(object: UploadPlan["objects"][number], start: number, end = object.size): number {
    if (object.encoding === undefined) return end - start;
    this.#map ??= new ShardMap(this.#manifest);
    const map = this.#map;
    const { first, count } = this.#shardsOf(map, object.key);
    const base = map.position(first);
    const shardAt = (offset: number) => {
      let low = first;
      let high = first + count;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (map.position(middle) - base < offset) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    const from = shardAt(start);
    const until = end >= object.size ? first + count : shardAt(end);
    return until <= from ? 0 : map.storedBytesOf({ first: from, count: until - from });
  }

  #shardsOf(map: ShardMap, key: string): { first: number; count: number } {
    if (key === encodedKey(PACK_KEY) && this.#manifest.layout === "packed") {
      return { first: 0, count: map.count };
    }
    return map.shardsOf(this.#manifest.files.findIndex(({ path }) => encodedKey(path) === key));
  }
}

function wrongManifest(what: string): WaybillError {
  return new WaybillError("digest_mismatch", `the manifest ${what}`, {
    hint: "the tree changed while it was uploaded; push again",
  });
}

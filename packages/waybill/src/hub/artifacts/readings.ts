// What a client needs to begin reading an artifact without asking again: its manifest, when it is small, and signed
// reads of its objects, when they are few. On a far path each answer that is not waited for is a round trip less.
import { decodeManifest, manifestObjects } from "@waybill/sdk/artifact";
import {
  type ArtifactRecord,
  INLINE_MANIFEST_BYTES,
  INLINE_READS,
  MANIFEST_KEY,
  type Reading,
} from "@waybill/sdk/protocol";
import type { Bucket } from "../bucket/bucket.ts";
import type { Log } from "../log.ts";
import type { Presigner } from "../storage/presign.ts";

export type ReadingsDeps = {
  readonly presigner: Presigner;
  /** How long its URLs are good. */
  readonly presignSeconds: number;
  /** The buckets artifacts lie in. */
  readonly buckets: readonly Bucket[];
  readonly log: Log;
};

/** A manifest that was read, and the keys of its objects. */
type Known = { readonly text: string; readonly keys: readonly string[] };

/** Manifests that are remembered: 8 MiB of them at most. */
const MAX_KNOWN = 64;

export class Readings {
  readonly #deps: ReadingsDeps;
  /** By artifact: what its manifest says never changes. The latest used come last. */
  readonly #known = new Map<string, Known>();

  constructor(deps: ReadingsDeps) {
    this.#deps = deps;
  }

  /** Never fails for what the store does not give: the client asks for that itself. */
  async of(record: ArtifactRecord): Promise<Reading> {
    const known = await this.#manifest(record);
    const keys = known === undefined || known.keys.length > INLINE_READS ? [] : known.keys;
    const reads = await this.sign(record, [MANIFEST_KEY, ...keys]);
    return { ...reads, ...(known === undefined ? {} : { manifest: known.text }) };
  }

  /** Signed reads of objects of an artifact. */
  async sign(
    { s3Path }: Pick<ArtifactRecord, "s3Path">,
    keys: readonly string[],
  ): Promise<Omit<Reading, "manifest">> {
    const { bucket, prefix } = placeIn(s3Path);
    const { presigner, presignSeconds } = this.#deps;
    const { urls, expiresAtMs, validForMs } = await presigner.sign(
      keys.map((key) => ({ method: "GET", bucket, key: prefix + key })),
      presignSeconds,
    );
    const reads = keys.map((key, at) => ({ key, url: urls[at] ?? "" }));
    return { reads, expiresAt: new Date(expiresAtMs).toISOString(), validForMs };
  }

  async #manifest(record: ArtifactRecord): Promise<Known | undefined> {
    const { artifact, s3Path, manifestBytes } = record;
    if (manifestBytes > INLINE_MANIFEST_BYTES) return undefined;
    const known = this.#known.get(s3Path + artifact) ?? (await this.#read(record));
    if (known === undefined) return undefined;
    this.#known.delete(s3Path + artifact);
    this.#known.set(s3Path + artifact, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
    return known;
  }

  async #read({ artifact, s3Path, manifestBytes }: ArtifactRecord): Promise<Known | undefined> {
    const place = placeIn(s3Path);
    const bucket = this.#deps.buckets.find(({ name }) => name === place.bucket);
    try {
      const object = await bucket?.get(place.prefix + MANIFEST_KEY);
      if (object === undefined || object.size !== manifestBytes) return undefined;
      const text = new TextDecoder().decode(object.body);
      const keys = manifestObjects(decodeManifest(text, artifact)).map(({ key }) => key);
      return { text, keys };
    } catch (error) {
      this.#deps.log("info", "a manifest is left to its reader", {
        artifact,
        reason: String(error),
      });
      return undefined;
    }
  }
}

function placeIn(s3Path: string): { readonly bucket: string; readonly prefix: string } {
  const slash = s3Path.indexOf("/");
  return { bucket: s3Path.slice(0, slash), prefix: s3Path.slice(slash + 1) };
}

// Parts that the store copies from artifacts of the room, so that bytes the room holds do not travel again. The hub
// asks with its own credentials; what it answers `copied` has the CRC-32 that the client computed of its own bytes.
import {
  type ArtifactId,
  type ArtifactRecord,
  type CopiedPart,
  type PartToCopy,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";
import { assertSafePath } from "@waybill/sdk/artifact";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Copied } from "../bucket/bucket.ts";
import type { Caller } from "../http/handler.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import type { Place } from "../storage/storage.ts";
import { type MultipartOpener, multipartOf } from "./multipart-opener.ts";
import { checkPart } from "./part-rule.ts";
import { type UploadDoc, placeAtOnce } from "./upload-doc.ts";

export type PartCopierDeps = {
  readonly opener: MultipartOpener;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
  readonly records: Pick<ArtifactRecords, "find">;
  /** The checkpoint a caller may read; throws `forbidden` for others. */
  readonly checkpoint: (
    room: RoomId,
    artifact: ArtifactId,
    caller: Caller,
  ) => Promise<ArtifactRecord | undefined>;
};

/** Copies at once: S3 copies each in its own time, and a store of ours only counts bytes. */
const PARALLEL = 16;

type Refusal = { readonly reason: string };

const OTHER_BYTES: Refusal = { reason: "the bytes there have another checksum" };

/** What the store says when it does not copy, or not over what came there meanwhile: the client sends the bytes. */
const REFUSALS: ReadonlySet<string> = new Set(["storage_failed", "precondition_failed"]);

export class PartCopier {
  readonly #deps: PartCopierDeps;

  constructor(deps: PartCopierDeps) {
    this.#deps = deps;
  }

  /**
   * Copies each part or says why not. Throws `invalid_request` for parts that are not of the plan, `upload_completed` when
   * the upload is not open any more, `storage_full`.
   */
  async copy(doc: UploadDoc, copies: readonly PartToCopy[], caller: Caller): Promise<CopiedPart[]> {
    for (const copy of copies) {
      checkPart(doc, copy);
      assertSafePath(copy.from.key, "the request");
    }
    const joined = copies.filter(({ part }) => part > 0).map(({ key }) => key);
    const [ready, bases] = await Promise.all([
      this.#deps.opener.open(doc, new Set(joined)),
      this.#bases(doc, copies, caller),
    ]);
    return mapLimited(copies, PARALLEL, async (copy) => {
      const { key, part } = copy;
      const refusal = await this.#copyOne(ready, copy, bases.get(copy.from.artifact));
      return { key, part, copied: refusal === undefined, ...refusal };
    });
  }

  async #bases(
    { room }: UploadDoc,
    copies: readonly PartToCopy[],
    caller: Caller,
  ): Promise<Map<ArtifactId, ArtifactRecord | undefined>> {
    const ids = [...new Set(copies.map(({ from }) => from.artifact))];
    const { records } = this.#deps;
    const found = await mapLimited(
      ids,
      PARALLEL,
      async (id) => (await records.find(room, id)) ?? this.#checkpoint(room, id, caller),
    );
    return new Map(ids.map((id, at) => [id, found[at]]));
  }

  /** What the caller may not read is not there for it: copied, its bytes would be. */
  async #checkpoint(
    room: RoomId,
    artifact: ArtifactId,
    caller: Caller,
  ): Promise<ArtifactRecord | undefined> {
    try {
      return await this.#deps.checkpoint(room, artifact, caller);
    } catch (error) {
      if (error instanceof WaybillError && error.code === "forbidden") return undefined;
      throw error;
    }
  }

  async #copyOne(
    doc: UploadDoc,
    copy: PartToCopy,
    base: ArtifactRecord | undefined,
  ): Promise<Refusal | undefined> {
    const { part, from } = copy;
    if (base === undefined) {
      return { reason: `the room holds no artifact ${from.artifact.slice(0, 12)}… any more` };
    }
    const source = placeOfRecord(base, this.#deps.placeOf);
    try {
      const copied = await (part > 0
        ? this.#copyRange(doc, copy, source)
        : this.#copyObject(doc, copy, source));
      if ("reason" in copied || copied.crc32 === copy.crc32) {
        return "reason" in copied ? copied : undefined;
      }
      return {
        reason:
          copied.crc32 === undefined
            ? "the store gives no checksum of what it copies"
            : OTHER_BYTES.reason,
      };
    } catch (error) {
      if (!(error instanceof WaybillError) || !REFUSALS.has(error.code)) throw error;
      return { reason: error.message };
    }
  }

  async #copyRange(
    doc: UploadDoc,
    { key, part, size, from }: PartToCopy,
    source: Located,
  ): Promise<Copied | Refusal> {
    const copied = await this.#deps
      .placeOf(doc)
      .multipart.copyPart(doc.prefix + key, multipartOf(doc, key), part, {
        bucket: source.place.bucket.name,
        key: source.prefix + from.key,
        start: from.start,
        size,
      });
    if (copied === "gone") return { reason: "the store has lost the multipart upload" };
    return copied === "missing" ? missing(from.key) : copied;
  }

  async #copyObject(
    doc: UploadDoc,
    { key, size, crc32, from }: PartToCopy,
    source: Located,
  ): Promise<Copied | Refusal> {
    const { bucket } = source.place;
    const at = placeAtOnce(doc);
    const target = this.#deps.placeOf(at).bucket;
    const [stored, there] = await Promise.all([
      bucket.head(source.prefix + from.key),
      target.head(at.prefix + key),
    ]);
    // What is there may be part of a completed artifact by now: it is neither written over nor deleted.
    if (there?.crc32 === crc32 && there.size === size) return { crc32 };
    if (there !== undefined) return { reason: "another body is there, to be replaced by a PUT" };
    if (stored === undefined) return missing(from.key);
    if (from.start !== 0 || stored.size !== size) {
      return { reason: "what is put at once is copied from a whole object only" };
    }
    if (stored.crc32 !== undefined && stored.crc32 !== crc32) return OTHER_BYTES;
    const sourceKey = source.prefix + from.key;
    const copied = await target.copyFrom(bucket, sourceKey, at.prefix + key, {
      checksum: true,
      ifAbsent: true,
      ifSourceMatch: stored.etag,
    });
    return copied ?? missing(from.key);
  }
}

type Located = { readonly place: Place; readonly prefix: string };

/** Where a record's objects lie. */
function placeOfRecord(
  { s3Path }: ArtifactRecord,
  placeOf: (doc: Pick<UploadDoc, "place">) => Place,
): Located {
  const slash = s3Path.indexOf("/");
  const bucket = s3Path.slice(0, slash);
  const rooms = placeOf({ place: "rooms" });
  const place = rooms.bucket.name === bucket ? rooms : placeOf({ place: "uploads" });
  return { place, prefix: s3Path.slice(slash + 1) };
}

function missing(key: string): Refusal {
  return { reason: `the artifact has no object ${key}` };
}

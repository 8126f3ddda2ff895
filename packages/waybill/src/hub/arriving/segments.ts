// Parts of an upload that are objects of their own, so that others can read them before the whole is joined
// (docs/protocol/arriving.md §2). The store makes parts of them by copying; what a segment is, its key says.
//
//   {room}/arriving/{upload}/{part}/{key}         in the uploads bucket, wherever the upload's own bytes go
//   {room}/arriving/{upload}/{part}.{n}/{key}     of an encoded object: frames of n bytes of the file
//   {room}/arriving/{upload}/0/artifact.json      the announced manifest
import {
  ANNOUNCED_MANIFEST_BYTES,
  type ArrivingObject,
  type CopiedPart,
  MANIFEST_KEY,
  type PartToSign,
  type RoomId,
  type SegmentName,
  type SegmentToTake,
  type UploadId,
  WaybillError,
  isPutAtOnce,
} from "@waybill/sdk/protocol";
import { mapLimited } from "../bucket/map-limited.ts";
import type { Place } from "../storage/storage.ts";
import type { Presigner } from "../storage/presign.ts";
import { type MultipartOpener, multipartOf } from "../uploads/multipart-opener.ts";
import type { SignedParts } from "../uploads/part-signer.ts";
import { checkPart } from "../uploads/part-rule.ts";
import { sizesBelow } from "../uploads/store-truth.ts";
import { type UploadDoc, isManifest, placeAtOnce, plannedObject } from "../uploads/upload-doc.ts";

export type SegmentsDeps = {
  readonly opener: MultipartOpener;
  readonly presigner: Presigner;
  readonly presignSeconds: number;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
};

/** A stored segment. */
type Found = {
  readonly key: string;
  readonly part: number;
  readonly size: number;
  readonly plainBytes?: number | undefined;
};

/** Where an object lies, as a GET of it is signed. */
export type StoredAt = { readonly bucket: string; readonly key: string };

/** Copies at once. */
const PARALLEL = 16;

export class Segments {
  readonly #deps: SegmentsDeps;

  constructor(deps: SegmentsDeps) {
    this.#deps = deps;
  }

  get #bucket(): Place["bucket"] {
    return this.#deps.placeOf({ place: "uploads" }).bucket;
  }

  /** Presigned PUTs; throws `invalid_request` for what is no part of the plan. */
  async sign(doc: UploadDoc, parts: readonly PartToSign[]): Promise<SignedParts> {
    for (const part of parts) checkSegment(doc, part);
    const { presigner, presignSeconds } = this.#deps;
    const headers = parts.map(({ crc32 }) => ({ "x-amz-checksum-crc32": crc32 }));
    const { urls, expiresAtMs, validForMs } = await presigner.sign(
      parts.map(({ size, ...name }, at) => ({
        method: "PUT" as const,
        bucket: this.#bucket.name,
        key: segmentKey(doc, name),
        headers: { ...headers[at], "content-length": String(size) },
      })),
      presignSeconds,
    );
    return {
      parts: parts.map(({ key, part }, at) => ({
        key,
        part,
        url: urls[at] ?? "",
        headers: headers[at] ?? {},
      })),
      expiresAtMs,
      validForMs,
    };
  }

  /** Makes parts of segments, or says why not. Throws `invalid_request` for what is no part of the plan. */
  async take(doc: UploadDoc, segments: readonly SegmentToTake[]): Promise<CopiedPart[]> {
    for (const segment of segments) {
      checkPart(doc, segment);
      checkEncoding(doc, segment);
      if (segment.part === 0) {
        throw new WaybillError("invalid_request", `${segment.key} is put at once, not in segments`);
      }
    }
    const ready = await this.#deps.opener.open(doc, new Set(segments.map(({ key }) => key)));
    return mapLimited(segments, PARALLEL, async ({ crc32, ...segment }) => {
      const { key, part } = segment;
      const reason = await this.#takeOne(ready, segment, crc32);
      return {
        key,
        part,
        copied: reason === undefined,
        ...(reason === undefined ? {} : { reason }),
      };
    });
  }

  /** Takes every segment that is no part yet, as its writer left it; answers how many. */
  async absorb(doc: UploadDoc): Promise<number> {
    if (doc.state !== "open") return 0;
    const found = (await this.#found(doc)).filter((segment) => obeys(doc, segment));
    if (found.length === 0) return 0;
    const ready = await this.#deps.opener.open(doc, new Set(found.map(({ key }) => key)));
    const { multipart } = this.#deps.placeOf(doc);
    const parts = new Map(
      await mapLimited([...new Set(found.map(({ key }) => key))], PARALLEL, async (key) => {
        const listed = await multipart.listParts(doc.prefix + key, multipartOf(ready, key));
        return [key, new Map(listed?.map(({ part, size }) => [part, size]))] as const;
      }),
    );
    const missing = found.filter(({ key, part, size }) => parts.get(key)?.get(part) !== size);
    const taken = await mapLimited(missing, PARALLEL, async (segment) => {
      const head = await this.#bucket.head(segmentKey(doc, segment));
      if (head?.crc32 === undefined) return false;
      return (await this.#takeOne(ready, segment, head.crc32)) === undefined;
    });
    return taken.filter(Boolean).length;
  }

  /** What can be read of an open upload: its segments, and the objects that were put at once. */
  async list(doc: UploadDoc): Promise<ArrivingObject[]> {
    const atOnce = placeAtOnce(doc);
    const [found, whole] = await Promise.all([
      this.#found(doc),
      sizesBelow(this.#deps.placeOf(atOnce), atOnce.prefix),
    ]);
    const objects = new Map<string, Omit<Found, "key">[]>();
    const note = ({ key, ...segment }: Found) => {
      const segments = objects.get(key) ?? [];
      segments.push(segment);
      objects.set(key, segments);
    };
    for (const { key, size, encoding } of doc.plan.objects) {
      const stored = whole.get(key);
      if (encoding === undefined && stored === size) note({ key, part: 0, size });
      if (encoding !== undefined && stored !== undefined) {
        note({ key, part: 0, size: stored, plainBytes: size });
      }
    }
    for (const segment of found) note(segment);
    return [...objects].map(([key, segments]) => ({ key, segments }));
  }

  /** Where a segment lies; throws `invalid_request` for one that cannot be. */
  place(doc: UploadDoc, name: SegmentName): StoredAt {
    const { key, part } = name;
    if (part === 0 && !isManifest(key)) {
      const at = placeAtOnce(doc);
      if (plannedObject(doc.plan, key) === undefined) {
        throw new WaybillError("invalid_request", `upload ${doc.upload} has no object ${key}`);
      }
      return { bucket: this.#deps.placeOf(at).bucket.name, key: at.prefix + key };
    }
    if (!isManifest(key) && plannedObject(doc.plan, key) === undefined) {
      throw new WaybillError("invalid_request", `upload ${doc.upload} has no object ${key}`);
    }
    return { bucket: this.#bucket.name, key: segmentKey(doc, name) };
  }

  /** The announced manifest's bytes; undefined when none was put. */
  async manifest(doc: UploadDoc): Promise<Uint8Array | undefined> {
    const key = segmentKey(doc, { key: MANIFEST_KEY, part: 0 });
    return (await this.#bucket.get(key))?.body;
  }

  /** Deletes everything of an upload. Idempotent. */
  async remove({ room, upload }: Pick<UploadDoc, "room" | "upload">): Promise<void> {
    const keys: string[] = [];
    for await (const { key } of this.#bucket.list(prefixOf(room, upload))) keys.push(key);
    if (keys.length > 0) await this.#bucket.delete(keys);
  }

  /** Uploads of a room that have segments. */
  folders(room: RoomId): AsyncIterable<string> {
    return this.#bucket.listFolders(arrivingPrefix(room));
  }

  async #found(doc: UploadDoc): Promise<Found[]> {
    const prefix = prefixOf(doc.room, doc.upload);
    const found: Found[] = [];
    for await (const { key: whole, size } of this.#bucket.list(prefix)) {
      const rest = whole.slice(prefix.length);
      const slash = rest.indexOf("/");
      const numbers = /^(\d+)(?:\.(\d+))?$/.exec(rest.slice(0, slash));
      const key = rest.slice(slash + 1);
      const part = Number(numbers?.[1]);
      const plain = numbers?.[2];
      const planned = plannedObject(doc.plan, key);
      if (planned === undefined || !(part >= 1) || isPutAtOnce(planned.size)) continue;
      if ((planned.encoding === undefined) !== (plain === undefined)) continue;
      found.push({
        key,
        part,
        size,
        ...(plain === undefined ? {} : { plainBytes: Number(plain) }),
      });
    }
    return found;
  }

  /** Undefined when the store has made the part with this CRC-32, else why not. */
  async #takeOne(doc: UploadDoc, segment: Found, crc32: string): Promise<string | undefined> {
    const { key, part, size } = segment;
    const source = { bucket: this.#bucket.name, key: segmentKey(doc, segment), start: 0, size };
    try {
      const copied = await this.#deps
        .placeOf(doc)
        .multipart.copyPart(doc.prefix + key, multipartOf(doc, key), part, {
          ...source,
          isWhole: true,
        });
      if (copied === "gone") return "the store has lost the multipart upload";
      if (copied === "missing") return `there is no segment ${part} of ${key}`;
      if (copied.crc32 === crc32) return undefined;
      return copied.crc32 === undefined
        ? "the store gives no checksum of what it copies"
        : "the segment has another checksum";
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "storage_failed") throw error;
      return error.message;
    }
  }
}

/** Throws `invalid_request` unless the body is a part of a multipart object, or a manifest that may be announced. */
function checkSegment(doc: UploadDoc, body: PartToSign): void {
  const { key, part, size } = body;
  if (part === 0 && isManifest(key)) {
    if (size <= ANNOUNCED_MANIFEST_BYTES) return;
    throw new WaybillError(
      "invalid_request",
      `a manifest of ${size} bytes is not announced; at most ${ANNOUNCED_MANIFEST_BYTES} are`,
    );
  }
  if (part === 0) {
    throw new WaybillError("invalid_request", `${key} is put at once, not in segments`, {
      hint: "sign it with signParts",
    });
  }
  checkPart(doc, body);
  checkEncoding(doc, body);
}

/** Throws `invalid_request` unless segments of encoded objects, and no others, say what they stand for. */
function checkEncoding(doc: UploadDoc, { key, plainBytes }: SegmentName): void {
  const isEncoded = plannedObject(doc.plan, key)?.encoding !== undefined;
  if (isEncoded === (plainBytes !== undefined)) return;
  const problem = isEncoded ? "lacks" : "must not have";
  throw new WaybillError("invalid_request", `a segment of ${key} ${problem} plainBytes`);
}

function obeys(doc: UploadDoc, segment: Found): boolean {
  try {
    checkPart(doc, segment);
    return true;
  } catch (error) {
    if (error instanceof WaybillError) return false;
    throw error;
  }
}

function arrivingPrefix(room: RoomId): string {
  return `${room}/arriving/`;
}

function prefixOf(room: RoomId, upload: UploadId): string {
  return `${arrivingPrefix(room)}${upload}/`;
}

function segmentKey(
  { room, upload }: Pick<UploadDoc, "room" | "upload">,
  { key, part, plainBytes }: SegmentName,
): string {
  const plain = plainBytes === undefined ? "" : `.${plainBytes}`;
  return `${prefixOf(room, upload)}${part}${plain}/${key}`;
}

// Presigned PUTs for parts. The hot path asks nobody: the session document is remembered and signing is
// arithmetic. Only the first part of a large object opens a multipart upload and writes that down.
import {
  LIMITS,
  MANIFEST_KEY,
  type PartToSign,
  type SignedPart,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { Documents } from "../bucket/documents.ts";
import { KeyedQueue } from "../bucket/keyed-queue.ts";
import type { Place } from "../storage/storage.ts";
import type { Presigner, ToSign } from "../storage/presign.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import {
  UploadDoc,
  isJoined,
  isManifest,
  partCount,
  placeAtOnce,
  plannedSize,
  sessionKey,
} from "./upload-doc.ts";

export type PartSignerDeps = {
  readonly documents: Documents;
  readonly presigner: Presigner;
  /** How long its URLs are good. */
  readonly presignSeconds: number;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
};

/** Multipart uploads opened at once for one request. */
const PARALLEL = 32;

export class PartSigner {
  readonly #deps: PartSignerDeps;
  readonly #opening = new KeyedQueue();

  constructor(deps: PartSignerDeps) {
    this.#deps = deps;
  }

  /** Throws `invalid_request` for parts that are not of the plan, `conflict` when the upload is not open. */
  async sign(
    doc: UploadDoc,
    parts: readonly PartToSign[],
  ): Promise<{ parts: SignedPart[]; expiresAtMs: number }> {
    for (const part of parts) checkPart(doc, part);
    const joined = parts.filter((part) => part.part > 0).map((part) => part.key);
    const ready = await this.#withMultipart(doc, new Set(joined));
    const requests = parts.map((part) => this.#requestFor(ready, part));
    const { presigner, presignSeconds } = this.#deps;
    const { urls, expiresAtMs } = await presigner.sign(requests, presignSeconds);
    const signed = parts.map(({ key, part, crc32 }, at) => ({
      key,
      part,
      url: urls[at] ?? "",
      // `content-length` is signed, too, but every HTTP client sets it by itself.
      headers: { "x-amz-checksum-crc32": crc32 },
    }));
    return { parts: signed, expiresAtMs };
  }

  #requestFor(doc: UploadDoc, { key, part, size, crc32 }: PartToSign): ToSign {
    const { place, prefix } = part > 0 ? doc : placeAtOnce(doc);
    return {
      method: "PUT",
      bucket: this.#deps.placeOf({ place }).bucket.name,
      key: prefix + key,
      headers: { "content-length": String(size), "x-amz-checksum-crc32": crc32 },
      ...(part > 0 ? { query: { partNumber: String(part), uploadId: uploadOf(doc, key) } } : {}),
    };
  }

  /** The document with a multipart upload for each of `keys`. */
  async #withMultipart(doc: UploadDoc, keys: ReadonlySet<string>): Promise<UploadDoc> {
    const lacks = (known: UploadDoc) =>
      [...keys].filter((key) => known.multipart[key] === undefined);
    if (lacks(doc).length === 0) return doc;
    return this.#opening.run(`${doc.room}/${doc.upload}`, async () => {
      const stored = await this.#deps.documents.read(UploadDoc, sessionKey(doc.room, doc.upload), {
        maxAgeMs: 10_000,
      });
      const missing = lacks(stored?.doc ?? doc);
      if (stored !== undefined && missing.length === 0) return stored.doc;
      const { multipart } = this.#deps.placeOf(doc);
      const opened = await mapLimited(missing, PARALLEL, async (key) => ({
        key,
        id: await multipart.create(doc.prefix + key),
      }));
      const ids = Object.fromEntries(opened.map(({ key, id }) => [key, id]));
      const updated = await this.#record(doc, ids);
      // Another hub was quicker for some keys: its uploads count, ours go.
      for (const { key, id } of opened) {
        if (updated.multipart[key] !== id) await multipart.abort(doc.prefix + key, id);
      }
      return updated;
    });
  }

  async #record(doc: UploadDoc, ids: Readonly<Record<string, string>>): Promise<UploadDoc> {
    const key = sessionKey(doc.room, doc.upload);
    const updated = await this.#deps.documents.update(UploadDoc, key, (current) => {
      assertOpen(current, doc);
      return { ...current, multipart: { ...ids, ...current.multipart } };
    });
    assertOpen(updated?.doc, doc);
    return updated.doc;
  }
}

/** Narrows to an open upload; throws `conflict` or `expired` saying what it is instead. */
export function assertOpen(
  doc: UploadDoc | undefined,
  wanted: Pick<UploadDoc, "upload">,
): asserts doc is UploadDoc {
  if (doc?.state === "open") return;
  if (doc?.state === "completed") {
    throw new WaybillError("conflict", `upload ${wanted.upload} is completed already`);
  }
  throw new WaybillError("expired", `upload ${wanted.upload} was given up or has expired`, {
    hint: "push again",
  });
}

/** The store's multipart upload of an object. Without it a part's URL would put the part as the whole object. */
function uploadOf(doc: UploadDoc, key: string): string {
  const uploadId = doc.multipart[key];
  if (uploadId !== undefined) return uploadId;
  throw new WaybillError("internal", `upload ${doc.upload} has no multipart upload for ${key}`);
}

function checkPart(doc: UploadDoc, { key, part, size }: PartToSign): void {
  const { plan } = doc;
  const planned = plannedSize(plan, key);
  if (planned === undefined) {
    if (!isManifest(key)) throw wrong(`upload ${doc.upload} has no object ${key}`);
    const most = part === 0 ? LIMITS.manifestBytes : plan.partBytes;
    if (size > most) throw wrong(`part ${part} of ${MANIFEST_KEY} has more than ${most} bytes`);
    return;
  }
  const multipart = isJoined(plan, planned);
  if (!multipart && part !== 0) throw wrong(`object ${key} is put at once, as part 0`);
  if (multipart && (part === 0 || part > partCount(plan, planned))) {
    throw wrong(`object ${key} has parts 1 to ${partCount(plan, planned)}, not ${part}`);
  }
  const expected = multipart
    ? Math.min(plan.partBytes, planned - (part - 1) * plan.partBytes)
    : planned;
  if (size !== expected) {
    throw wrong(`part ${part} of ${key} has ${expected} bytes by the plan, not ${size}`);
  }
}

function wrong(message: string): WaybillError {
  return new WaybillError("invalid_request", message, {
    hint: "the plan and what is sent differ; push again",
  });
}

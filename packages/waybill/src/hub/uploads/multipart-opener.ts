// The store's multipart uploads of a session: opened with the first part of each object that anybody asks for, and
// written down in the session's document before a part may go there.
import { WaybillError } from "@waybill/sdk/protocol";
import type { Documents } from "../bucket/documents.ts";
import { KeyedQueue } from "../bucket/keyed-queue.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import type { Place } from "../storage/storage.ts";
import { UploadDoc, sessionKey } from "./upload-doc.ts";

export type MultipartOpenerDeps = {
  /** Documents of the uploads bucket. */
  readonly documents: Documents;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
};

/** Multipart uploads opened at once for one request. */
const PARALLEL = 32;

export class MultipartOpener {
  readonly #deps: MultipartOpenerDeps;
  readonly #opening = new KeyedQueue();

  constructor(deps: MultipartOpenerDeps) {
    this.#deps = deps;
  }

  /** The document with a multipart upload for each of `keys`; throws `upload_completed` or `expired` when the session is not open. */
  async open(doc: UploadDoc, keys: ReadonlySet<string>): Promise<UploadDoc> {
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

/** Narrows to an open upload; throws `upload_completed` or `expired` saying what it is instead. */
export function assertOpen(
  doc: UploadDoc | undefined,
  wanted: Pick<UploadDoc, "upload">,
): asserts doc is UploadDoc {
  if (doc?.state === "open") return;
  if (doc?.state === "completed") {
    throw new WaybillError("upload_completed", `upload ${wanted.upload} is completed already`, {
      hint: "begin again: if its artifact is not yours, under another fingerprint",
    });
  }
  throw new WaybillError("expired", `upload ${wanted.upload} was given up or has expired`, {
    hint: "push again",
  });
}

/** The store's multipart upload of an object. Without it a part's URL would put the part as the whole object. */
export function multipartOf(doc: UploadDoc, key: string): string {
  const uploadId = doc.multipart[key];
  if (uploadId !== undefined) return uploadId;
  throw new WaybillError("internal", `upload ${doc.upload} has no multipart upload for ${key}`);
}

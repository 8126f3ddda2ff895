// Presigned PUTs for parts. The hot path asks nobody: the session document is remembered and signing is
// arithmetic. Only the first part of a large object opens a multipart upload and writes that down.
import type { PartToSign, SignedPart } from "@waybill/sdk/protocol";
import type { Place } from "../storage/storage.ts";
import type { Presigner, ToSign } from "../storage/presign.ts";
import { type MultipartOpener, multipartOf } from "./multipart-opener.ts";
import { checkPart } from "./part-rule.ts";
import { type UploadDoc, placeAtOnce } from "./upload-doc.ts";

export type PartSignerDeps = {
  readonly opener: MultipartOpener;
  readonly presigner: Presigner;
  /** How long its URLs are good. */
  readonly presignSeconds: number;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
};

export type SignedParts = {
  readonly parts: SignedPart[];
  readonly expiresAtMs: number;
  readonly validForMs: number;
};

export class PartSigner {
  readonly #deps: PartSignerDeps;

  constructor(deps: PartSignerDeps) {
    this.#deps = deps;
  }

  /** Throws `invalid_request` for parts that are not of the plan, `upload_completed` when the upload is not open any more. */
  async sign(doc: UploadDoc, parts: readonly PartToSign[]): Promise<SignedParts> {
    for (const part of parts) checkPart(doc, part);
    const joined = parts.filter((part) => part.part > 0).map((part) => part.key);
    const ready = await this.#deps.opener.open(doc, new Set(joined));
    const { presigner, presignSeconds } = this.#deps;
    const asked = parts.map((part) => ({ ...part, headers: headersOf(ready, part) }));
    const requests = asked.map((part) => this.#requestFor(ready, part));
    const { urls, expiresAtMs, validForMs } = await presigner.sign(requests, presignSeconds);
    const signed = asked.map(({ key, part, headers }, at) => ({
      key,
      part,
      url: urls[at] ?? "",
      // `content-length` is signed, too, but every HTTP client sets it by itself.
      headers,
    }));
    return { parts: signed, expiresAtMs, validForMs };
  }

  #requestFor(
    doc: UploadDoc,
    { key, part, size, headers }: PartToSign & { readonly headers: SignedPart["headers"] },
  ): ToSign {
    const { place, prefix } = part > 0 ? doc : placeAtOnce(doc);
    return {
      method: "PUT",
      bucket: this.#deps.placeOf({ place }).bucket.name,
      key: prefix + key,
      headers: { ...headers, "content-length": String(size) },
      ...(part > 0 ? { query: { partNumber: String(part), uploadId: multipartOf(doc, key) } } : {}),
    };
  }
}

/**
 * What the client must send. An object in its final place is only created, or put in the place of the body the client
 * has seen there: a URL that outlives the upload's completion changes nothing. (What waits to be copied may change.)
 */
function headersOf(doc: UploadDoc, { part, crc32, replaces }: PartToSign): SignedPart["headers"] {
  const sum = { "x-amz-checksum-crc32": crc32 };
  if (part > 0 || placeAtOnce(doc) !== doc) return sum;
  return replaces === undefined
    ? { ...sum, "if-none-match": "*" }
    : { ...sum, "if-match": replaces };
}

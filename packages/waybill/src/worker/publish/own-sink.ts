// An upload's sink that asks no hub: the store itself is the account (I2), every body carries its CRC-32, and
// `artifact.json` is written last and only where there is none: a folder with it is whole.
import {
  type ArtifactId,
  type ArtifactRecord,
  MANIFEST_KEY,
  type ObjectProgress,
  type PartToSign,
  type SignedPart,
  type Timestamp,
  UploadId,
  type UploadPlan,
  type UploadStatus,
  WaybillError,
  isPutAtOnce,
} from "@waybill/sdk/protocol";
import { retry } from "@waybill/sdk/timing";
import type { JoinedObject, Permits, Sink, SinkOptions } from "@waybill/sdk/transfer";
import * as v from "valibot";
import type { OwnStore } from "./own-store.ts";

export type OwnSinkInit = {
  readonly store: OwnStore;
  /** Ends in `/`. */
  readonly prefix: string;
  readonly now: () => number;
};

/** Parts of one size suit every store; AWS and R2 want them so (hub-api.md 25). */
const PART_BYTES = 8 * 1024 * 1024;
const FOREVER = Number.POSITIVE_INFINITY;
const CRC = "x-amz-checksum-crc32";

export class OwnSink implements Sink {
  readonly id: string;
  readonly #init: OwnSinkInit;
  readonly #multipart = new Map<string, string>();
  #plan: UploadPlan | undefined;
  #manifest: { readonly body: Uint8Array; readonly crc32: string } | undefined;

  constructor(init: OwnSinkInit) {
    this.#init = init;
    this.id = `bucket ${init.store.bucket}`;
  }

  begin(plan: UploadPlan, options: SinkOptions): Promise<UploadStatus> {
    this.#plan = plan;
    return this.status(options);
  }

  async status(options: SinkOptions): Promise<UploadStatus> {
    const { prefix, store, now } = this.#init;
    const plan = this.#begun();
    const [sizes, open] = await again(options, () =>
      Promise.all([store.sizes(prefix, options), store.openUploads(prefix, options)]),
    );
    for (const [key, id] of open) this.#multipart.set(key, id);
    const objects: ObjectProgress[] = [];
    for (const { key, size } of plan.objects) {
      objects.push(await again(options, () => this.#progress(key, size, sizes.get(key), options)));
    }
    const unitBytes = Math.max(PART_BYTES, plan.unitBytes);
    return {
      upload: v.parse(UploadId, "u_000000000000000000000000"),
      state: "open",
      name: plan.name,
      bytes: plan.bytes,
      layout: plan.layout,
      shardBytes: plan.shardBytes,
      unitBytes,
      partRule: "equal",
      equalPartBytes: unitBytes,
      createdAt: timeOf(now()),
      objects,
    };
  }

  async authorise(parts: readonly PartToSign[], options: SinkOptions): Promise<Permits> {
    const { prefix, store } = this.#init;
    for (const { key, part } of parts) {
      if (part === 0 || this.#multipart.has(key)) continue;
      const id = await again(options, () => store.createUpload(prefix + key, options));
      this.#multipart.set(key, id);
    }
    const permits = parts.map(({ key, part, crc32 }) => ({
      key,
      part,
      url: "",
      headers: { [CRC]: crc32 },
    }));
    return { parts: permits, validForMs: FOREVER };
  }

  async put(
    { key, part, headers }: SignedPart,
    body: Uint8Array,
    options: Parameters<Sink["put"]>[2],
  ): Promise<void> {
    const { prefix, store } = this.#init;
    const crc32 = headers[CRC] ?? "";
    if (part > 0) {
      const uploadId = this.#multipart.get(key) ?? "";
      await store.putPart({ key: prefix + key, uploadId, part, crc32 }, body, options);
    } else if (key === MANIFEST_KEY) {
      // The body's memory is used again: a copy waits until everything else is whole.
      this.#manifest = { body: Uint8Array.from(body), crc32 };
    } else {
      await store.put({ key: prefix + key, crc32 }, body, options);
    }
    options.onSent(body.length);
  }

  async copy(): Promise<readonly []> {
    return [];
  }

  async complete(
    artifact: ArtifactId,
    objects: readonly JoinedObject[],
    options: SinkOptions,
  ): Promise<ArtifactRecord> {
    const inParts = objects.filter(({ parts }) => parts.some(({ part }) => part > 0));
    const rank = ({ key }: JoinedObject) => (key === MANIFEST_KEY ? 1 : 0);
    for (const object of inParts.toSorted((a, b) => rank(a) - rank(b))) {
      await again(options, () => this.#join(object, options));
    }
    await again(options, () => this.#seal(options));
    const { prefix, store, now } = this.#init;
    const { name, layout, objects: planned, bytes } = this.#begun();
    return {
      artifact,
      name,
      kind: "model",
      layout,
      files: planned.length,
      bytes,
      manifestBytes: this.#manifest?.body.length ?? 0,
      s3Path: `${store.bucket}/${prefix}`,
      createdAt: timeOf(now()),
    };
  }

  async adopt(): Promise<undefined> {
    return undefined;
  }

  async #progress(
    key: string,
    size: number,
    stored: number | undefined,
    options: SinkOptions,
  ): Promise<ObjectProgress> {
    const { prefix, store } = this.#init;
    const nothing = { key, size, done: false, parts: [] };
    const head = stored === size ? await store.head(prefix + key, options) : undefined;
    if (head !== undefined) {
      const crc32 = head.crc32?.includes("-") === false ? { crc32: head.crc32 } : {};
      return { ...nothing, done: true, storedBytes: size, etag: head.etag, ...crc32 };
    }
    const uploadId = this.#multipart.get(key);
    if (uploadId === undefined || isPutAtOnce(size)) return nothing;
    const parts = await store.listParts(prefix + key, uploadId, options);
    const sure = parts.flatMap(({ part, size: bytes, crc32 }) =>
      crc32 === undefined ? [] : [{ part, size: bytes, crc32 }],
    );
    return { ...nothing, parts: sure };
  }

  async #join({ key, parts }: JoinedObject, options: SinkOptions): Promise<void> {
    const { prefix, store } = this.#init;
    const uploadId = this.#multipart.get(key);
    const isThere = async () => (await store.head(prefix + key, options)) !== undefined;
    if (uploadId === undefined) {
      // Joined by an earlier run.
      if (await isThere()) return;
      throw new WaybillError("conflict", `the parts of ${key} are gone`);
    }
    try {
      const listed = await store.listParts(prefix + key, uploadId, options);
      const wanted = new Set(parts.map(({ part }) => part));
      const chosen = listed.filter(({ part }) => wanted.has(part));
      await store.join(prefix + key, uploadId, chosen, options);
    } catch (error) {
      // A join whose answer was lost has ended the upload.
      const gone = error instanceof WaybillError && error.code === "not_found";
      if (!gone || !(await isThere())) throw error;
    }
  }

  async #seal(options: SinkOptions): Promise<void> {
    const manifest = this.#manifest;
    if (manifest === undefined) return;
    const { prefix, store } = this.#init;
    const { body, crc32 } = manifest;
    const key = prefix + MANIFEST_KEY;
    try {
      await store.put({ key, crc32, ifAbsent: true }, body, options);
    } catch (error) {
      const exists = error instanceof WaybillError && error.code === "precondition_failed";
      if (!exists) throw error;
      if ((await store.text(key, options)) === new TextDecoder().decode(body)) return;
      throw new WaybillError("conflict", `${key} is another model's`, { cause: error });
    }
  }

  #begun(): UploadPlan {
    if (this.#plan === undefined) throw new WaybillError("internal", "the upload was not begun");
    return this.#plan;
  }
}

function again<T>({ signal }: SinkOptions, run: () => Promise<T>): Promise<T> {
  return retry(run, { forMs: FOREVER, signal, capMs: 5000 });
}

function timeOf(ms: number): Timestamp {
  return new Date(ms).toISOString();
}

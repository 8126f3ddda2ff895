// How uploads end without an artifact, or after it: given up, expired, half removed when a hub was killed.
// First the document says `aborted` (by compare-and-swap, so a completion cannot come between), then the bytes
// go, then the document.
import {
  type ArtifactRecord,
  type JobId,
  type RoomId,
  type UploadId,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Documents } from "../bucket/documents.ts";
import { KeyedQueue } from "../bucket/keyed-queue.ts";
import type { Clock, Log } from "../log.ts";
import type { Place } from "../storage/storage.ts";
import { uploadOf } from "./adoption.ts";
import type { ModelClaims } from "./model-claims.ts";
import {
  UploadDoc,
  abortedDoc,
  checkpointsFolder,
  placeAtOnce,
  sessionKey,
  sessionsPrefix,
} from "./upload-doc.ts";

export type UploadRemovalDeps = {
  /** Documents of the uploads bucket. */
  readonly documents: Documents;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
  readonly records: ArtifactRecords;
  readonly claims: ModelClaims;
  readonly project: (doc: UploadDoc) => Promise<void>;
  /** Deletes what readers were given of an upload under way. */
  readonly removeSegments: (doc: UploadDoc) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
};

/** A remembered document will do for deciding what to look at; what is done is conditional. */
const SWEEP_AGE_MS = 3_600_000;

export class UploadRemoval {
  readonly #deps: UploadRemovalDeps;
  readonly #removing = new KeyedQueue();
  /** Completed uploads whose records this process knows to be written. */
  readonly #projected = new Set<UploadId>();

  constructor(deps: UploadRemovalDeps) {
    this.#deps = deps;
  }

  /** Gives an open upload up and deletes what is stored of it. Idempotent; throws `conflict` when completed. */
  async abort(room: RoomId, upload: UploadId): Promise<void> {
    const { documents, clock } = this.#deps;
    const key = sessionKey(room, upload);
    const mark = () =>
      documents.update(UploadDoc, key, (known) => {
        if (known === undefined || known.state === "aborted") return undefined;
        if (known.state === "completed") {
          throw new WaybillError("conflict", `upload ${upload} is completed already`);
        }
        return abortedDoc(known, clock());
      });
    const updated = await mark().catch(async (error: unknown) => {
      if (!(error instanceof WaybillError) || error.code !== "storage_full") throw error;
      // No room for the mark: parts make some. Should a hub end here, the session asks for them again.
      const full = await documents.read(UploadDoc, key);
      if (full?.doc.state === "open") await this.#dropParts(full.doc);
      return mark();
    });
    if (updated !== undefined) await this.finish(updated.doc);
  }

  /** Ends what has expired in a room, finishes what a crash left half done; answers how many ended. */
  async sweep(room: RoomId): Promise<number> {
    const { documents, clock, log } = this.#deps;
    let ended = 0;
    for await (const { key } of documents.bucket.list(sessionsPrefix(room))) {
      const found = await documents.read(UploadDoc, key, { maxAgeMs: SWEEP_AGE_MS });
      if (found === undefined) continue;
      const { doc } = found;
      const nowMs = clock();
      await this.#projectOnce(doc);
      if (doc.state !== "aborted" && !isOver(doc, nowMs)) continue;
      const updated = await documents.update(UploadDoc, key, (known) =>
        known === undefined || known.state === "aborted" || !isOver(known, nowMs)
          ? undefined
          : abortedDoc(known, nowMs),
      );
      if (updated?.doc.state !== "aborted") continue;
      await this.finish(updated.doc);
      ended += 1;
      log("info", "upload expired", { room, upload: doc.upload, name: doc.plan.name });
    }
    return ended;
  }

  /** Removes a checkpoint that nobody needs any more. Idempotent. */
  async removeCheckpoint(room: RoomId, record: ArtifactRecord): Promise<void> {
    const { documents, clock, placeOf, records } = this.#deps;
    const upload = uploadOf(record);
    const updated = await documents.update(UploadDoc, sessionKey(room, upload), (known) =>
      known === undefined || known.state === "aborted" ? undefined : abortedDoc(known, clock()),
    );
    if (updated !== undefined) return this.finish(updated.doc);
    // The bucket's own rule has removed the session of a long training.
    const prefix = record.s3Path.slice(record.s3Path.indexOf("/") + 1);
    await empty(placeOf({ place: "rooms" }), prefix);
    await records.remove(room, record);
  }

  /** Deletes whatever is stored of a job's checkpoints: what came late, by a URL that was still good, too. */
  async emptyCheckpoints(room: RoomId, job: JobId): Promise<void> {
    await empty(this.#deps.placeOf({ place: "rooms" }), checkpointsFolder(room, job));
  }

  /** Deletes the bytes of an aborted upload, then its document. */
  async finish(doc: UploadDoc): Promise<void> {
    const { documents } = this.#deps;
    const key = sessionKey(doc.room, doc.upload);
    await this.#removing.run(key, async () => {
      const current = await documents.read(UploadDoc, key);
      // Somebody else has finished, or has opened it anew since.
      if (current?.doc.state !== "aborted") return;
      await this.#clean(current.doc);
      await documents.delete(key);
    });
  }

  async #projectOnce(doc: UploadDoc): Promise<void> {
    if (doc.state !== "completed" || this.#projected.has(doc.upload)) return;
    await this.#deps.project(doc);
    this.#projected.add(doc.upload);
  }

  async #dropParts(doc: UploadDoc): Promise<void> {
    const { multipart } = this.#deps.placeOf(doc);
    for (const [key, id] of Object.entries(doc.multipart)) {
      await multipart.abort(doc.prefix + key, id);
    }
  }

  /** What is kept stays, and a model's folder that has passed to another upload is not ours to empty. */
  async #clean(doc: UploadDoc): Promise<void> {
    const place = this.#deps.placeOf(doc);
    await this.#dropParts(doc);
    await this.#deps.removeSegments(doc);
    const atOnce = placeAtOnce(doc);
    if (atOnce !== doc) await empty(this.#deps.placeOf(atOnce), atOnce.prefix);
    const { kind } = doc.plan.purpose;
    if (doc.record !== undefined && doc.place === "rooms" && kind !== "checkpoint") return;
    if (doc.plan.purpose.kind === "model") {
      const claim = await this.#deps.claims.find(doc.room, doc.plan.purpose.model);
      if (claim?.upload !== doc.upload || claim.record !== undefined) return;
    }
    if (doc.record !== undefined) await this.#deps.records.remove(doc.room, doc.record);
    this.#projected.delete(doc.upload);
    await empty(place, doc.prefix);
  }
}

async function empty({ bucket, multipart }: Place, prefix: string): Promise<void> {
  for await (const open of multipart.list(prefix)) await multipart.abort(open.key, open.uploadId);
  const keys: string[] = [];
  for await (const { key } of bucket.list(prefix)) keys.push(key);
  if (keys.length > 0) await bucket.delete(keys);
}

/** Whether an upload's time has ended. A whole checkpoint stays until its job needs it no more. */
export function isOver({ state, plan, expiresAt }: UploadDoc, nowMs: number): boolean {
  if (state === "completed" && plan.purpose.kind === "checkpoint") return false;
  return Date.parse(expiresAt) <= nowMs;
}

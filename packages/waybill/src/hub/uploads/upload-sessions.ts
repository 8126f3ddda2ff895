// Upload sessions while somebody works on them: opened or found again, completed. How they end otherwise is in
// upload-removal.ts. Which of the two wins a race is decided by compare-and-swap on the session's document.
import {
  type ArtifactRecord,
  type RoomId,
  type UploadId,
  type UploadPlan,
  WaybillError,
} from "@waybill/sdk/protocol";
import { isDeepStrictEqual } from "node:util";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Documents } from "../bucket/documents.ts";
import type { Clock } from "../log.ts";
import type { Place } from "../storage/storage.ts";
import { type Completion, joinUpload, recordOf } from "./completion.ts";
import { keptBefore } from "./kept-before.ts";
import { assertOpen } from "./part-signer.ts";
import {
  UploadDoc,
  completedDoc,
  placeAtOnce,
  placeFor,
  sessionKey,
  sessionsPrefix,
  uploadIdOf,
} from "./upload-doc.ts";
import type { UploadRemoval } from "./upload-removal.ts";

export type UploadSessionsDeps = {
  /** Documents of the uploads bucket. */
  readonly documents: Documents;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
  readonly records: ArtifactRecords;
  readonly removal: UploadRemoval;
  /** Writes what follows from a completed session. */
  readonly project: (doc: UploadDoc) => Promise<void>;
  readonly ttlMs: number;
  readonly clock: Clock;
};

/** A session document that was swept long ago may be remembered by another hub this long. */
const SIGN_AGE_MS = 10_000;
const DAY_MS = 86_400_000;

export class UploadSessions {
  readonly #deps: UploadSessionsDeps;

  constructor(deps: UploadSessionsDeps) {
    this.#deps = deps;
  }

  /** The session of a plan, opened when there is none; `fresh` when nothing of it can be stored yet. */
  async begin(
    room: RoomId,
    plan: UploadPlan,
    createdBy: string,
  ): Promise<{ doc: UploadDoc; fresh: boolean }> {
    const upload = uploadIdOf(room, plan.fingerprint);
    const opened = this.#newDoc(room, upload, plan, createdBy);
    const before = await keptBefore(opened, this.#deps.placeOf(opened), this.#deps.records);
    const wanted = before === undefined ? opened : completedDoc(opened, before);
    const { documents } = this.#deps;
    const key = sessionKey(room, upload);
    try {
      const created = await documents.create(UploadDoc, key, wanted);
      return { doc: created.doc, fresh: before === undefined };
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
    }
    const updated = await documents.update(UploadDoc, key, (known) => {
      if (known === undefined) return wanted;
      if (known.state === "aborted") return undefined;
      assertSamePlan(known.plan, plan);
      return this.#renewed(known);
    });
    if (updated === undefined) return { doc: wanted, fresh: true };
    if (updated.doc.state !== "aborted") {
      const { doc } = updated;
      if (doc.state === "completed" && updated.changed) await this.#deps.project(doc);
      return { doc, fresh: false };
    }
    // Given up, but not gone yet: finish that, then open it anew.
    await this.#deps.removal.finish(updated.doc);
    return { doc: (await documents.create(UploadDoc, key, wanted)).doc, fresh: true };
  }

  /** An upload of the room; throws `not_found`. A copy of some seconds ago will do for signing. */
  async get(
    room: RoomId,
    upload: UploadId,
    options: { readonly forSigning?: boolean } = {},
  ): Promise<UploadDoc> {
    const age = options.forSigning === true ? { maxAgeMs: SIGN_AGE_MS } : {};
    const found = await this.find(room, upload, age);
    if (found !== undefined && found.state !== "aborted") return found;
    throw new WaybillError("not_found", `room ${room} has no upload ${upload}`, {
      hint: "it was given up or has expired; push again",
    });
  }

  /** An upload in whatever state. */
  async find(
    room: RoomId,
    upload: UploadId,
    options: { readonly maxAgeMs?: number } = {},
  ): Promise<UploadDoc | undefined> {
    return (await this.#deps.documents.read(UploadDoc, sessionKey(room, upload), options))?.doc;
  }

  /** Open sessions of a room. */
  async list(room: RoomId): Promise<UploadDoc[]> {
    const docs: UploadDoc[] = [];
    for await (const doc of this.#docs(room)) if (doc.state === "open") docs.push(doc);
    return docs;
  }

  /** Pushes the end of an open upload that is being worked on further away. */
  async keepOpen(doc: UploadDoc): Promise<void> {
    if (Date.parse(doc.expiresAt) - this.#deps.clock() > this.#deps.ttlMs / 2) return;
    await this.#deps.documents.update(UploadDoc, sessionKey(doc.room, doc.upload), (known) =>
      known?.state === "open" ? this.#renewed(known) : undefined,
    );
  }

  /** Forgets multipart uploads the store has lost, so that the next signing opens new ones. */
  async forgetMultipart(doc: UploadDoc, keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return;
    const ids = new Set(keys.map((key) => doc.multipart[key]));
    await this.#deps.documents.update(UploadDoc, sessionKey(doc.room, doc.upload), (known) => {
      if (known?.state !== "open") return undefined;
      const kept = Object.entries(known.multipart).filter(([, id]) => !ids.has(id));
      return { ...known, multipart: Object.fromEntries(kept) };
    });
  }

  /** Joins, verifies and records an upload; a second time it answers the same. */
  async complete(doc: UploadDoc, completion: Completion): Promise<ArtifactRecord> {
    const { documents, placeOf, clock, ttlMs } = this.#deps;
    if (doc.state === "completed") return this.#completedBefore(doc, completion);
    const spoiled = new Set<string>();
    const joined = await joinUpload(doc, placeOf, completion, spoiled).catch(
      async (error: unknown) => {
        await this.#sendAnew(doc, [...spoiled]);
        throw error;
      },
    );
    const nowMs = clock();
    const expiresMs = doc.place === "uploads" ? nowMs + ttlMs : undefined;
    const times = { nowMs, expiresMs };
    const record = recordOf(doc, placeOf(doc).bucket.name, completion.artifact, joined, times);
    const updated = await documents.update(UploadDoc, sessionKey(doc.room, doc.upload), (known) => {
      if (known?.state === "completed") return undefined;
      assertOpen(known, doc);
      return { ...completedDoc(known, record), expiresAt: new Date(nowMs + ttlMs).toISOString() };
    });
    if (updated === undefined) throw new WaybillError("expired", `upload ${doc.upload} is gone`);
    return this.#completedBefore(updated.doc, completion);
  }

  async *#docs(room: RoomId): AsyncIterable<UploadDoc> {
    const { documents } = this.#deps;
    for await (const { key } of documents.bucket.list(sessionsPrefix(room))) {
      const found = await documents.read(UploadDoc, key, { maxAgeMs: this.#deps.ttlMs / 4 });
      if (found !== undefined) yield found.doc;
    }
  }

  async #completedBefore(doc: UploadDoc, completion: Completion): Promise<ArtifactRecord> {
    const { record } = doc;
    if (record?.artifact !== completion.artifact) {
      throw new WaybillError(
        "conflict",
        `upload ${doc.upload} is completed with another artifact (${record?.artifact ?? "none"})`,
        { hint: "push again under another fingerprint" },
      );
    }
    await this.#deps.project(doc);
    return record;
  }

  /** Drops objects that are whole but wrong, so that the next push finds them missing. */
  async #sendAnew(doc: UploadDoc, keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const at = doc.multipart[key] === undefined ? placeAtOnce(doc) : doc;
      await this.#deps.placeOf(at).bucket.delete([at.prefix + key]);
    }
    await this.forgetMultipart(doc, keys);
  }

  #newDoc(room: RoomId, upload: UploadId, plan: UploadPlan, createdBy: string): UploadDoc {
    const nowMs = this.#deps.clock();
    return {
      upload,
      room,
      state: "open",
      plan,
      ...placeFor(room, upload, plan),
      createdAt: new Date(nowMs).toISOString(),
      createdBy,
      expiresAt: new Date(nowMs + this.#deps.ttlMs).toISOString(),
      multipart: {},
    };
  }

  /**
   * The session with its time begun again, or `undefined` when it has enough left. One whose artifact has
   * expired is open again: what the store still has need not be sent.
   */
  #renewed(doc: UploadDoc): UploadDoc | undefined {
    const { clock, ttlMs } = this.#deps;
    const nowMs = clock();
    const leftMs = Date.parse(doc.expiresAt) - nowMs;
    if (leftMs > ttlMs / 2) return undefined;
    const expiresAt = new Date(nowMs + ttlMs).toISOString();
    const { record, ...rest } = doc;
    if (record === undefined) return { ...doc, expiresAt };
    if (doc.place === "rooms") return { ...doc, expiresAt };
    // Objects that outlive the store's own cleaning rule would be taken from under the record.
    const young = nowMs - Date.parse(doc.createdAt) < ttlMs + 5 * DAY_MS;
    if (leftMs > 0 && young) return { ...doc, expiresAt, record: { ...record, expiresAt } };
    return leftMs > 0 ? undefined : { ...rest, state: "open", expiresAt, multipart: {} };
  }
}

/** One fingerprint is one plan; another plan under it would mix two pushes' parts. */
function assertSamePlan(known: UploadPlan, plan: UploadPlan): void {
  const essence = ({ purpose, layout, objects }: UploadPlan) => ({ purpose, layout, objects });
  if (isDeepStrictEqual(essence(known), essence(plan))) return;
  throw new WaybillError("conflict", "the fingerprint belongs to an upload of other objects", {
    hint: "push again; if it happens again, report it",
  });
}

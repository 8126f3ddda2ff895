// Upload sessions while somebody works on them: opened or found again, completed. How they end otherwise is in
// upload-removal.ts. Which of the two wins a race is decided by compare-and-swap on the session's document.
import {
  type ArtifactRecord,
  type PartToSign,
  type RoomId,
  type UploadId,
  type UploadPlan,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Documents } from "../bucket/documents.ts";
import type { Clock } from "../log.ts";
import type { Place } from "../storage/storage.ts";
import { withEqualParts } from "./check-plan.ts";
import { type Completion, joinUpload, recordOf } from "./completion.ts";
import { keptBefore } from "./kept-before.ts";
import { assertOpen } from "./multipart-opener.ts";
import {
  type Times,
  assertSamePush,
  assertUncontested,
  hasTime,
  recordNamed,
  renewed,
  withAnew,
  withReplacing,
} from "./session-edits.ts";
import {
  UploadDoc,
  completedDoc,
  placeAtOnce,
  placeFor,
  sessionKey,
  sessionsPrefix,
  uploadIdOf,
} from "./upload-doc.ts";
import { type UploadRemoval, isOver } from "./upload-removal.ts";

export type UploadSessionsDeps = {
  /** Documents of the uploads bucket. */
  readonly documents: Documents;
  readonly placeOf: (doc: Pick<UploadDoc, "place">) => Place;
  readonly records: ArtifactRecords;
  readonly removal: UploadRemoval;
  /** Writes what follows from a completed session. */
  readonly project: (doc: UploadDoc) => Promise<void>;
  /** Whether sessions begun now send all parts of an object but the last in one size. */
  readonly equalParts: () => Promise<boolean>;
  readonly ttlMs: number;
  readonly clock: Clock;
};

type Begun = { readonly doc: UploadDoc; readonly fresh: boolean; readonly changed: boolean };

/** A session document that was swept long ago may be remembered by another hub this long. */
const SIGN_AGE_MS = 10_000;
/** A body that was begun while its URL was good may end so much later: 8 MiB at 10 kB/s. */
const LATE_PUT_MS = 900_000;

export class UploadSessions {
  readonly #deps: UploadSessionsDeps;

  constructor(deps: UploadSessionsDeps) {
    this.#deps = deps;
  }

  /**
   * The session of a plan, opened when there is none; `fresh` when nothing of it can be stored yet. One that is there
   * keeps its own plan. Throws `conflict` for another push under its fingerprint.
   */
  async begin(
    room: RoomId,
    plan: UploadPlan,
    createdBy: string,
  ): Promise<{ doc: UploadDoc; fresh: boolean }> {
    const upload = uploadIdOf(room, plan.fingerprint);
    const equalParts = await this.#deps.equalParts();
    const opened = this.#newDoc(room, upload, equalParts ? withEqualParts(plan) : plan, createdBy);
    const wanted: UploadDoc = equalParts ? { ...opened, equalParts: true } : opened;
    const before = await keptBefore(wanted, this.#deps.placeOf(wanted), this.#deps.records);
    const begun = await this.#openOrFind(
      before === undefined ? wanted : completedDoc(wanted, before),
    );
    const { doc } = begun;
    if (doc.state === "completed" && begun.changed) await this.#deps.project(doc);
    return { doc, fresh: begun.fresh && before === undefined };
  }

  async #openOrFind(wanted: UploadDoc): Promise<Begun> {
    const { documents } = this.#deps;
    const key = sessionKey(wanted.room, wanted.upload);
    try {
      const { doc } = await documents.create(UploadDoc, key, wanted);
      return { doc, fresh: true, changed: true };
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
    }
    const updated = await documents.update(UploadDoc, key, (known) => {
      if (known === undefined) return wanted;
      if (known.state === "aborted") return undefined;
      assertSamePush(known.plan, wanted.plan);
      const next = renewed(known, this.#times);
      return next === known ? undefined : next;
    });
    if (updated === undefined) return { doc: wanted, fresh: true, changed: true };
    const { doc, changed } = updated;
    if (doc.state !== "aborted") return { doc, fresh: doc === wanted, changed };
    // Given up, but not gone yet: finish that, then open it anew.
    await this.#deps.removal.finish(doc);
    const anew = await documents.create(UploadDoc, key, wanted);
    return { doc: anew.doc, fresh: true, changed: true };
  }

  /**
   * Lets a completed dataset's time begin again and gives it a name. Throws `not_found` when its session is gone,
   * `conflict` when it may not stay that long: its objects would outlive the store's cleaning rule.
   */
  async renew(room: RoomId, upload: UploadId, name: UploadPlan["name"]): Promise<ArtifactRecord> {
    const key = sessionKey(room, upload);
    const updated = await this.#deps.documents.update(UploadDoc, key, (known) => {
      if (known?.state !== "completed") return undefined;
      const next = recordNamed(renewed(known, this.#times), name);
      return next === known ? undefined : next;
    });
    const doc = updated?.doc;
    if (doc?.state !== "completed" || doc.record === undefined) {
      throw new WaybillError("not_found", `the artifact's upload ${upload} is gone`, {
        hint: "push it again",
      });
    }
    if (!hasTime(doc, this.#times)) {
      throw new WaybillError("conflict", `artifact ${doc.record.artifact} may not stay longer`, {
        hint: "its bytes are copied to a new upload when it is pushed again",
      });
    }
    await this.#deps.project(doc);
    await this.#deps.records.giveName(room, doc.record, name);
    return doc.record;
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

  /** Sessions whose bytes the next sweep removes: pushes that were never completed, and data sets whose time is over. */
  async over(room: RoomId): Promise<UploadDoc[]> {
    const nowMs = this.#deps.clock();
    const docs: UploadDoc[] = [];
    for await (const doc of this.#docs(room)) {
      // Of what is kept, only the session's document goes.
      const isKept = doc.state === "completed" && doc.place === "rooms";
      if (!isKept && (doc.state === "aborted" || isOver(doc, nowMs))) docs.push(doc);
    }
    return docs;
  }

  /** Pushes the end of an open upload that is being worked on further away. */
  async keepOpen(doc: UploadDoc): Promise<void> {
    if (hasTime(doc, this.#times)) return;
    await this.#deps.documents.update(UploadDoc, sessionKey(doc.room, doc.upload), (known) => {
      if (known?.state !== "open") return undefined;
      const next = renewed(known, this.#times);
      return next === known ? undefined : next;
    });
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
    const spoiled = new Map<string, string>();
    const joined = await joinUpload(doc, placeOf, completion, spoiled).catch(
      async (error: unknown) => {
        await this.#sendAnew(doc, spoiled);
        throw error;
      },
    );
    const nowMs = clock();
    const expiresMs = doc.place === "uploads" ? nowMs + ttlMs : undefined;
    const facts = { name: completion.name ?? doc.plan.name, nowMs, expiresMs };
    const record = recordOf(doc, placeOf(doc).bucket.name, completion.artifact, joined, facts);
    const updated = await documents.update(UploadDoc, sessionKey(doc.room, doc.upload), (known) => {
      if (known?.state === "completed") return undefined;
      assertOpen(known, doc);
      assertUncontested(known, doc, joined.etags, nowMs);
      return { ...completedDoc(known, record), expiresAt: new Date(nowMs + ttlMs).toISOString() };
    });
    if (updated === undefined) throw new WaybillError("expired", `upload ${doc.upload} is gone`);
    if (!updated.changed) return this.#completedBefore(updated.doc, completion);
    await this.#deps.project(updated.doc);
    return record;
  }

  get #times(): Times {
    return { nowMs: this.#deps.clock(), ttlMs: this.#deps.ttlMs };
  }

  async *#docs(room: RoomId): AsyncIterable<UploadDoc> {
    const { documents } = this.#deps;
    for await (const { key } of documents.bucket.list(sessionsPrefix(room))) {
      const found = await documents.read(UploadDoc, key, { maxAgeMs: this.#deps.ttlMs / 4 });
      if (found !== undefined) yield found.doc;
    }
  }

  /** The record under the caller's name, if the artifact is the caller's. */
  async #completedBefore(doc: UploadDoc, completion: Completion): Promise<ArtifactRecord> {
    const { record } = doc;
    if (record?.artifact !== completion.artifact) {
      throw new WaybillError(
        "upload_completed",
        `upload ${doc.upload} is completed with another artifact (${record?.artifact ?? "none"})`,
        { hint: "push again under another fingerprint" },
      );
    }
    const { name = record.name } = completion;
    if (record.kind !== "dataset") {
      await this.#deps.project(doc);
      return record;
    }
    const updated = await this.#deps.documents.update(
      UploadDoc,
      sessionKey(doc.room, doc.upload),
      (known) => {
        if (known?.record?.artifact !== record.artifact) return undefined;
        const next = recordNamed(known, name);
        return next === known ? undefined : next;
      },
    );
    const named = updated?.doc.record?.artifact === record.artifact ? updated.doc : doc;
    await this.#deps.project(named);
    await this.#deps.records.giveName(doc.room, record, name);
    return { ...(named.record ?? record), name };
  }

  /** Has joined objects that are wrong sent anew. They stay until then: another push may be completing with them. */
  async #sendAnew(doc: UploadDoc, wrong: ReadonlyMap<string, string>): Promise<void> {
    if (wrong.size === 0) return;
    await this.#deps.documents.update(UploadDoc, sessionKey(doc.room, doc.upload), (known) =>
      known?.state === "open" ? withAnew(known, doc, wrong) : undefined,
    );
  }

  /**
   * Writes down that URLs will be signed which replace bodies in their final place, before they are. Throws
   * `upload_completed` or `expired` when the session is not open.
   */
  async noteReplacing(doc: UploadDoc, parts: readonly PartToSign[], urlMs: number): Promise<void> {
    const replacements = parts.flatMap(({ key, replaces: etag }) =>
      etag === undefined ? [] : [{ key, etag }],
    );
    if (replacements.length === 0 || placeAtOnce(doc) !== doc) return;
    const nowMs = this.#deps.clock();
    const times = { nowMs, untilMs: nowMs + urlMs + LATE_PUT_MS };
    await this.#deps.documents.update(UploadDoc, sessionKey(doc.room, doc.upload), (known) => {
      assertOpen(known, doc);
      return withReplacing(known, replacements, times);
    });
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
}

// Handlers of upload sessions.
import { isDeepStrictEqual } from "node:util";
import {
  type ArtifactRecord,
  type JobId,
  type RoomId,
  type UploadStatus,
  WaybillError,
} from "@waybill/sdk/protocol";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import { readableCheckpoint } from "../artifacts/checkpoint-records.ts";
import type { Documents } from "../bucket/documents.ts";
import type { Caller, Handlers } from "../http/handler.ts";
import type { Clock, Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import { checkPlan } from "./check-plan.ts";
import { ModelClaims } from "./model-claims.ts";
import { Segments } from "../arriving/segments.ts";
import { adoptArtifact } from "./adoption.ts";
import { MultipartOpener, assertOpen } from "./multipart-opener.ts";
import { PartCopier } from "./part-copier.ts";
import { PartSigner } from "./part-signer.ts";
import {
  completedObjects,
  nothingStored,
  readTruth,
  statusHead,
  storedBytesOf,
} from "./store-truth.ts";
import { type UploadDoc, uploadIdOf } from "./upload-doc.ts";
import { UploadRights, type UploadRightsDeps } from "./upload-rights.ts";
import { UploadRemoval } from "./upload-removal.ts";
import { UploadSessions } from "./upload-sessions.ts";
import { recordModel } from "./recorded-model.ts";

type UploadRoute =
  | "beginUpload"
  | "listUploads"
  | "showUpload"
  | "signParts"
  | "copyParts"
  | "completeUpload"
  | "abortUpload"
  | "adoptArtifact"
  | "recordModel";

export type UploadsDeps = {
  /** Documents of the uploads bucket: sessions. */
  readonly sessions: Documents;
  /** Documents of the rooms bucket: model folders. */
  readonly documents: Documents;
  readonly storage: Storage;
  readonly records: ArtifactRecords;
  readonly ttlMs: number;
  /** How long presigned URLs are good. */
  readonly presignSeconds: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether the caller is the job's worker now. */
  readonly holdsJob: (room: RoomId, job: JobId, caller: Caller) => Promise<boolean>;
} & Pick<UploadRightsDeps, "assertAttempt">;

export type UploadsArea = {
  readonly handlers: Handlers<UploadRoute>;
  readonly claims: ModelClaims;
  readonly sessions: UploadSessions;
  readonly rights: UploadRights;
  readonly segments: Segments;
  /** What `sweep` would end now. */
  expired(room: RoomId): Promise<ExpiredUpload[]>;
  /** Ends a room's expired uploads; answers how many. */
  sweep(room: RoomId): Promise<number>;
  /** Removes a checkpoint that nobody needs any more. Idempotent. */
  removeCheckpoint(room: RoomId, record: ArtifactRecord): Promise<void>;
  /** Deletes whatever is stored of a job's checkpoints. */
  emptyCheckpoints(room: RoomId, job: JobId): Promise<void>;
};

export type ExpiredUpload = {
  readonly upload: UploadDoc["upload"];
  readonly name: string;
  /** What is stored of it, as far as that is quick to tell. */
  readonly bytes: number;
  readonly why: string;
};

/** Uploads looked at together for a list. */
const PARALLEL = 4;

/** Composes the area; does no I/O. */
export function createUploadsArea(deps: UploadsDeps): UploadsArea {
  const claims = new ModelClaims(deps.documents);
  const rights = new UploadRights(deps);
  const placeOf = (doc: Pick<UploadDoc, "place">) => deps.storage[doc.place];
  const { records, storage, ttlMs, clock, log } = deps;
  const documents = deps.sessions;

  /** Writes what follows from a completed session: record, name, the model's closed folder. Idempotent. */
  async function project({ record, plan, room, upload }: UploadDoc): Promise<void> {
    if (record === undefined) return;
    const { purpose } = plan;
    await Promise.all([
      records.enter(room, record),
      ...(purpose.kind === "model" ? [claims.close(room, purpose, upload, record)] : []),
    ]);
  }

  const { presigner } = storage;
  const { presignSeconds } = deps;
  const opener = new MultipartOpener({ documents, placeOf });
  const segments = new Segments({ opener, presigner, presignSeconds, placeOf });
  const removal = new UploadRemoval({
    documents,
    placeOf,
    records,
    claims,
    project,
    removeSegments: (doc) => segments.remove(doc),
    clock,
    log,
  });
  const common = { documents, placeOf, records, project };
  const equalParts = () => storage.equalParts();
  const sessions = new UploadSessions({ ...common, removal, equalParts, ttlMs, clock });
  const copier = new PartCopier({
    opener,
    placeOf,
    records,
    checkpoint: (room, artifact, caller) =>
      readableCheckpoint(
        { checkpoints: records.checkpoints, holdsJob: deps.holdsJob },
        room,
        artifact,
        caller,
      ),
  });
  const signer = new PartSigner({ opener, presigner, presignSeconds, placeOf });

  async function status(doc: UploadDoc): Promise<UploadStatus> {
    if (doc.state === "completed") return { ...statusHead(doc), objects: completedObjects(doc) };
    const { objects, dead } = await readTruth(doc, placeOf);
    await sessions.forgetMultipart(doc, dead);
    return { ...statusHead(doc), objects };
  }

  const originOf = (doc: UploadDoc) => presigner.originOf(placeOf(doc).bucket.name);

  const handlers: Handlers<UploadRoute> = {
    beginUpload: async ({ params: { room }, body, caller: anyone }) => {
      const caller = known(anyone);
      checkPlan(body);
      const { purpose } = body;
      await rights.assertMaySend(room, body, caller);
      const [{ doc, fresh }] = await Promise.all([
        sessions.begin(room, body, caller.subject),
        ...(purpose.kind === "model"
          ? [claims.take(room, purpose, uploadIdOf(room, body.fingerprint))]
          : []),
      ]);
      if (fresh) {
        log("info", "upload opened", { room, upload: doc.upload, bytes: body.bytes });
        const nothing = { ...statusHead(doc), objects: nothingStored(doc) };
        return { resumed: false, status: nothing, storeOrigin: originOf(doc) };
      }
      const taken = await segments.absorb(doc);
      const current = taken > 0 ? await sessions.get(room, doc.upload) : doc;
      return { resumed: true, status: await status(current), storeOrigin: originOf(current) };
    },

    listUploads: async ({ params: { room } }) => ({
      uploads: await mapLimited(await sessions.list(room), PARALLEL, async (doc) => {
        const storedBytes = await storedBytesOf(doc, placeOf);
        return {
          ...statusHead(doc),
          kind: doc.plan.purpose.kind,
          createdBy: doc.createdBy,
          ...(storedBytes === undefined ? {} : { storedBytes }),
        };
      }),
    }),

    showUpload: async ({ params: { room, upload }, caller }) => {
      const doc = await sessions.get(room, upload);
      await rights.assertMaySee(doc, known(caller));
      return status(doc);
    },

    signParts: async ({ params: { room, upload }, body, caller }) => {
      const doc = await sessions.get(room, upload, { forSigning: true });
      await rights.assertMaySend(room, doc.plan, known(caller));
      assertOpen(doc, doc);
      await sessions.noteReplacing(doc, body.parts, presignSeconds * 1000);
      const { parts, expiresAtMs, validForMs } = await signer.sign(doc, body.parts);
      await sessions.keepOpen(doc);
      return { parts, expiresAt: new Date(expiresAtMs).toISOString(), validForMs };
    },

    copyParts: async ({ params: { room, upload }, body, caller }) => {
      const doc = await sessions.get(room, upload);
      const copying = known(caller);
      await rights.assertMaySend(room, doc.plan, copying);
      assertOpen(doc, doc);
      const copied = await copier.copy(doc, body.copies, copying);
      await sessions.keepOpen(doc);
      return { copied };
    },

    completeUpload: async ({ params: { room, upload }, body, caller: anyone }) => {
      const caller = known(anyone);
      const doc = await sessions.get(room, upload, { forSigning: true });
      const { purpose } = doc.plan;
      await Promise.all([
        doc.state === "open"
          ? rights.assertMaySend(room, doc.plan, caller)
          : rights.assertMaySee(doc, caller),
        ...(doc.state === "open" && purpose.kind === "model"
          ? [claims.assertHeld(room, purpose, upload)]
          : []),
      ]);
      const record = await sessions.complete(doc, body).catch(async (error: unknown) => {
        if (error instanceof WaybillError && error.code === "digest_mismatch") throw error;
        // Another hub may have opened multipart uploads that a remembered document does not name.
        const current = await sessions.get(room, upload);
        if (isDeepStrictEqual(current, doc)) throw error;
        return sessions.complete(current, body);
      });
      const { artifact, bytes, files } = record;
      log("info", "upload completed", { room, upload, artifact, bytes, files });
      return record;
    },

    abortUpload: async ({ params: { room, upload }, caller: anyone }) => {
      const caller = known(anyone);
      if (caller.role === "worker") {
        const doc = await sessions.find(room, upload);
        if (doc === undefined) return { ok: true };
        await rights.assertMaySee(doc, caller);
      }
      await removal.abort(room, upload);
      log("info", "upload given up", { room, upload });
      return { ok: true };
    },

    recordModel: async ({ params: { room, model }, body, caller }) => {
      const { rooms } = storage;
      const stored = { rooms, records, claims, rights, clock };
      const record = await recordModel(stored, room, model, body, known(caller));
      log("info", "model recorded", { room, model, artifact: record.artifact });
      return record;
    },

    adoptArtifact: async ({ params: { room, artifact }, body }) =>
      adoptArtifact({ records, sessions }, room, artifact, body),
  };

  return {
    handlers,
    claims,
    sessions,
    rights,
    segments,
    expired: async (room) =>
      mapLimited(await sessions.over(room), PARALLEL, async (doc) => ({
        upload: doc.upload,
        name: doc.plan.name,
        bytes: doc.record?.bytes ?? (await storedBytesOf(doc, placeOf)) ?? 0,
        why:
          doc.record === undefined
            ? `the push of ${doc.plan.name} was never completed`
            : `data set ${doc.record.name} has expired`,
      })),
    sweep: (room) => removal.sweep(room),
    removeCheckpoint: (room, record) => removal.removeCheckpoint(room, record),
    emptyCheckpoints: (room, job) => removal.emptyCheckpoints(room, job),
  };
}

function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "an upload route lacks its caller");
  return caller;
}

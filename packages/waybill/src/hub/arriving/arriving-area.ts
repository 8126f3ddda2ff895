// Handlers for artifacts that are read while they are pushed (docs/protocol/arriving.md).
import {
  AnnouncedPush,
  type ArtifactId,
  type ArtifactRecord,
  type Arriving,
  type ResolvedArtifact,
  type RoomId,
  type UploadId,
  UploadId as UploadIdSchema,
  WaybillError,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Documents } from "../bucket/documents.ts";
import type { Caller, Handlers } from "../http/handler.ts";
import type { Clock, Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { assertOpen } from "../uploads/multipart-opener.ts";
import type { UploadDoc } from "../uploads/upload-doc.ts";
import type { UploadRights } from "../uploads/upload-rights.ts";
import type { UploadSessions } from "../uploads/upload-sessions.ts";
import { type Announcement, Announcements, readAnnounced, recordToCome } from "./announcements.ts";
import type { Segments } from "./segments.ts";

type ArrivingRoute =
  | "announceUpload"
  | "signSegments"
  | "takeSegments"
  | "showArriving"
  | "signArriving";

export type ArrivingDeps = {
  /** Documents of the uploads bucket. */
  readonly documents: Documents;
  readonly storage: Storage;
  readonly records: ArtifactRecords;
  readonly sessions: UploadSessions;
  readonly rights: UploadRights;
  readonly segments: Segments;
  readonly presignSeconds: number;
  readonly clock: Clock;
  readonly log: Log;
};

export type ArrivingArea = {
  readonly handlers: Handlers<ArrivingRoute>;
  /** The arriving artifact a reference stands for. */
  resolve(room: RoomId, ref: string): Promise<ResolvedArtifact | undefined>;
  /** The record to come of an artifact that is arriving. */
  find(room: RoomId, artifact: ArtifactId): Promise<ArtifactRecord | undefined>;
  /** Removes what was left of announced uploads that are over. */
  sweep(room: RoomId): Promise<void>;
};

/** Readers under way finish with segments this long after an upload was completed. */
const SEGMENTS_STAY_MS = 600_000;
/** Readers of one upload share an account that is not older. */
const ACCOUNT_AGE_MS = 150;
/** Accounts remembered. */
const MAX_ACCOUNTS = 256;

type Account = { readonly revision: string; readonly objects: NonNullable<Arriving["objects"]> };

/** Composes the area; does no I/O. */
export function createArrivingArea(deps: ArrivingDeps): ArrivingArea {
  const { records, sessions, rights, segments, storage, clock, log } = deps;
  const announcements = new Announcements({ documents: deps.documents, sessions, clock });
  const accounts = new Map<
    UploadId,
    { readonly atMs: number; readonly account: Promise<Account> }
  >();

  /** The open upload of a caller who may send to it. */
  async function open(room: RoomId, upload: UploadId, caller: Caller | undefined) {
    const doc = await sessions.get(room, upload, { forSigning: true });
    await rights.assertMaySend(room, doc.plan, known(caller));
    assertOpen(doc, doc);
    if (doc.plan.purpose.kind === "dataset") return doc;
    throw new WaybillError("invalid_request", "models are not read before they are complete");
  }

  function accountOf(doc: UploadDoc, announcement: Announcement): Promise<Account> {
    const nowMs = clock();
    const remembered = accounts.get(doc.upload);
    if (remembered !== undefined && nowMs - remembered.atMs < ACCOUNT_AGE_MS) {
      return remembered.account;
    }
    const account = segments.list(doc).then((objects) => ({
      revision: revisionOf(announcement, objects),
      objects,
    }));
    accounts.delete(doc.upload);
    accounts.set(doc.upload, { atMs: nowMs, account });
    const [oldest] = accounts.keys();
    if (accounts.size > MAX_ACCOUNTS && oldest !== undefined) accounts.delete(oldest);
    // A failure is told to those who asked, and not remembered.
    account.catch(() => accounts.delete(doc.upload));
    return account;
  }

  const handlers: Handlers<ArrivingRoute> = {
    announceUpload: async ({ params: { room, upload }, body, caller }) => {
      const { artifact, manifestBytes, ...push } = body;
      const doc = await open(room, upload, caller);
      const held = await records.find(room, artifact);
      if (held !== undefined) return held;
      const bytes = await segments.manifest(doc);
      if (bytes?.length !== manifestBytes) {
        throw new WaybillError(
          "conflict",
          `the announced manifest of upload ${upload} is not stored with ${manifestBytes} bytes`,
          { hint: "put it as segment 0 of artifact.json, then announce" },
        );
      }
      const manifest = readAnnounced(doc, bytes, artifact);
      const { name } = storage[doc.place].bucket;
      const record = recordToCome(doc, name, { artifact, manifest, manifestBytes });
      const announced = await announcements.enter(doc, record, push);
      await sessions.keepOpen(doc);
      accounts.delete(upload);
      log("info", "upload announced", { room, upload, artifact, addresses: push.direct.length });
      return announced;
    },

    signSegments: async ({ params: { room, upload }, body, caller }) => {
      const doc = await open(room, upload, caller);
      const { parts, expiresAtMs, validForMs } = await segments.sign(doc, body.parts);
      await sessions.keepOpen(doc);
      return { parts, expiresAt: new Date(expiresAtMs).toISOString(), validForMs };
    },

    takeSegments: async ({ params: { room, upload }, body, caller }) => {
      const doc = await open(room, upload, caller);
      const copied = await segments.take(doc, body.segments);
      await sessions.keepOpen(doc);
      return { copied };
    },

    showArriving: async ({ params: { room, artifact }, query }) => {
      const found = await announcements.find(room, artifact);
      if (found === undefined) return done(room, artifact);
      const { doc, announcement } = found;
      const { unitBytes } = doc.plan;
      const { revision, objects } = await accountOf(doc, announcement);
      const head = { done: false, revision, unitBytes };
      if (revision === query.revision) return head;
      const { direct } = announcement;
      return { ...head, objects, direct, ...v.parse(AnnouncedPush, announcement) };
    },

    signArriving: async ({ params: { room, artifact }, body }) => {
      const found = await announcements.last(room, artifact);
      if (found === undefined || found.doc.state === "aborted") throw gone(room, artifact);
      const { urls, expiresAtMs, validForMs } = await storage.presigner.sign(
        body.segments.map((name) => ({ method: "GET", ...segments.place(found.doc, name) })),
        deps.presignSeconds,
      );
      const reads = body.segments.map((name, at) => ({ ...name, url: urls[at] ?? "" }));
      return { reads, expiresAt: new Date(expiresAtMs).toISOString(), validForMs };
    },
  };

  async function done(room: RoomId, artifact: ArtifactId): Promise<Arriving> {
    const record = await records.find(room, artifact);
    if (record === undefined) throw gone(room, artifact);
    return { done: true, revision: "done", unitBytes: 0, objects: [], direct: [] };
  }

  function isOver(doc: UploadDoc | undefined): boolean {
    if (doc === undefined || doc.state === "aborted") return true;
    if (doc.record === undefined) return false;
    return clock() - Date.parse(doc.record.createdAt) > SEGMENTS_STAY_MS;
  }

  return {
    handlers,
    resolve: (room, ref) => announcements.resolve(room, ref),
    find: async (room, artifact) => (await announcements.find(room, artifact))?.announcement.record,
    async sweep(room) {
      await announcements.sweep(room, isOver);
      for await (const folder of segments.folders(room)) {
        const upload = v.safeParse(UploadIdSchema, folder);
        if (!upload.success || !isOver(await sessions.find(room, upload.output))) continue;
        await segments.remove({ room, upload: upload.output });
        log("info", "segments removed", { room, upload: upload.output });
      }
    },
  };
}

/** Grows with what is stored, and changes with every announcement. */
function revisionOf({ announcedAt }: Announcement, objects: Account["objects"]): string {
  let count = 0;
  let bytes = 0;
  for (const { segments } of objects) {
    count += segments.length;
    for (const { size } of segments) bytes += size;
  }
  return `${Date.parse(announcedAt).toString(36)}.${count.toString(36)}.${bytes.toString(36)}`;
}

function gone(room: RoomId, artifact: ArtifactId): WaybillError {
  return new WaybillError(
    "not_found",
    `artifact ${artifact.slice(0, 12)}… is not arriving in room ${room}: its upload was given up or has expired`,
    { hint: "push it again" },
  );
}

function known(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new WaybillError("internal", "an upload route lacks its caller");
  return caller;
}

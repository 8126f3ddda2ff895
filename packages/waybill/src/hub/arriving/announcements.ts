// Which artifacts are arriving: `{room}/announced/{artifactId}.json` in the uploads bucket says which upload brings one
// and where the pushing machine serves it itself. It counts while that upload's session is open.
import { decodeManifest, manifestObjects } from "@waybill/sdk/artifact";
import {
  type ArtifactId,
  ArtifactId as ArtifactIdSchema,
  type ArtifactManifest,
  ArtifactRecord,
  AnnouncedPush,
  type DirectAddress,
  DirectAddresses,
  type ResolvedArtifact,
  type RoomId,
  Timestamp,
  UploadId,
  WaybillError,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";
import type { Clock } from "../log.ts";
import type { UploadSessions } from "../uploads/upload-sessions.ts";
import type { UploadDoc } from "../uploads/upload-doc.ts";

export const Announcement = v.object({
  upload: UploadId,
  /** The record to come; it is completed with other times and, maybe, another manifest. */
  record: ArtifactRecord,
  direct: DirectAddresses,
  ...AnnouncedPush.entries,
  announcedAt: Timestamp,
});
export type Announcement = v.InferOutput<typeof Announcement>;

/** An artifact that is arriving, and the session that brings it. */
export type ArrivingArtifact = { readonly announcement: Announcement; readonly doc: UploadDoc };

export type AnnouncementsDeps = {
  /** Documents of the uploads bucket. */
  readonly documents: Documents;
  readonly sessions: Pick<UploadSessions, "find">;
  readonly clock: Clock;
};

/** Readers ask every second; what another hub has written may be seen so much later. */
const MAX_AGE_MS = 1000;
/** Digits of an id that may stand for it. */
const MIN_PREFIX = 8;

export class Announcements {
  readonly #deps: AnnouncementsDeps;

  constructor(deps: AnnouncementsDeps) {
    this.#deps = deps;
  }

  /** Writes an announcement; a newer one of the same artifact replaces it. */
  async enter(
    doc: UploadDoc,
    record: ArtifactRecord,
    push: AnnouncedPush & { readonly direct: readonly DirectAddress[] },
  ): Promise<ResolvedArtifact> {
    const announcement: Announcement = {
      ...push,
      upload: doc.upload,
      record,
      direct: [...push.direct],
      announcedAt: new Date(this.#deps.clock()).toISOString(),
    };
    const key = announcementKey(doc.room, record.artifact);
    await this.#deps.documents.update(Announcement, key, () => announcement);
    return shown(announcement);
  }

  /** An artifact that is arriving now. */
  async find(room: RoomId, artifact: ArtifactId): Promise<ArrivingArtifact | undefined> {
    const found = await this.last(room, artifact);
    return found?.doc.state === "open" ? found : undefined;
  }

  /** As `find`, of a session that has ended, too. */
  async last(room: RoomId, artifact: ArtifactId): Promise<ArrivingArtifact | undefined> {
    const options = { maxAgeMs: MAX_AGE_MS };
    const key = announcementKey(room, artifact);
    const announcement = (await this.#deps.documents.read(Announcement, key, options))?.doc;
    if (announcement === undefined) return undefined;
    const doc = await this.#deps.sessions.find(room, announcement.upload, options);
    return doc === undefined ? undefined : { announcement, doc };
  }

  /** The arriving artifact that an id, a unique prefix of one or a name stands for. */
  async resolve(room: RoomId, ref: string): Promise<ResolvedArtifact | undefined> {
    const id = v.safeParse(ArtifactIdSchema, ref);
    if (id.success) return shownIf(await this.find(room, id.output));
    const all = await this.#all(room);
    const arriving = all.filter(({ doc }) => doc.state === "open");
    const named = arriving
      .filter(({ announcement }) => announcement.record.name === ref)
      .sort((a, b) => (a.announcement.announcedAt < b.announcement.announcedAt ? -1 : 1));
    if (named.length > 0) return shownIf(named.at(-1));
    if (!new RegExp(`^[0-9a-f]{${MIN_PREFIX},63}$`).test(ref)) return undefined;
    const matching = arriving.filter(({ announcement }) =>
      announcement.record.artifact.startsWith(ref),
    );
    return matching.length === 1 ? shownIf(matching[0]) : undefined;
  }

  /** Removes announcements whose session is over; `isOver` decides. */
  async sweep(room: RoomId, isOver: (doc: UploadDoc | undefined) => boolean): Promise<void> {
    const { documents, sessions } = this.#deps;
    for (const artifact of await this.#ids(room)) {
      const key = announcementKey(room, artifact);
      const announcement = (await documents.read(Announcement, key))?.doc;
      if (announcement === undefined) continue;
      if (isOver(await sessions.find(room, announcement.upload))) await documents.delete(key);
    }
  }

  async #all(room: RoomId): Promise<ArrivingArtifact[]> {
    const found = await Promise.all(
      (await this.#ids(room)).map((artifact) => this.last(room, artifact)),
    );
    return found.filter((one) => one !== undefined);
  }

  async #ids(room: RoomId): Promise<ArtifactId[]> {
    const prefix = announcedPrefix(room);
    const ids: ArtifactId[] = [];
    for await (const { key } of this.#deps.documents.bucket.list(prefix)) {
      const id = v.safeParse(ArtifactIdSchema, key.slice(prefix.length).replace(/\.json$/, ""));
      if (id.success) ids.push(id.output);
    }
    return ids;
  }
}

/** Reads an announced manifest; throws `digest_mismatch` unless it has the id and describes what the session sends. */
export function readAnnounced(
  doc: UploadDoc,
  bytes: Uint8Array,
  artifact: ArtifactId,
): ArtifactManifest {
  const manifest = decodeManifest(new TextDecoder().decode(bytes), artifact);
  const { plan } = doc;
  const planned = new Map(
    plan.objects.map(({ key, size, encoding }) => [
      encoding === undefined ? key : key.slice(0, -ENCODED_SUFFIX.length),
      size,
    ]),
  );
  const objects = manifestObjects(manifest);
  const isSame =
    manifest.layout === plan.layout &&
    manifest.shardBytes === plan.shardBytes &&
    objects.length === planned.size &&
    objects.every(({ key, size, encoding }) => encoding === undefined && planned.get(key) === size);
  if (isSame) return manifest;
  throw new WaybillError(
    "digest_mismatch",
    `the announced manifest describes other objects than upload ${doc.upload} sends`,
    { hint: "push without announcing" },
  );
}

/** What the keys of encoded objects end in. */
const ENCODED_SUFFIX = ".zst";

/** The record an upload will have when it is completed, as far as it is known. */
export function recordToCome(
  doc: UploadDoc,
  bucket: string,
  announced: {
    readonly artifact: ArtifactId;
    readonly manifest: ArtifactManifest;
    readonly manifestBytes: number;
  },
): ArtifactRecord {
  const { artifact, manifest, manifestBytes } = announced;
  return {
    artifact,
    name: doc.plan.name,
    kind: "dataset",
    layout: manifest.layout,
    files: manifest.files.length,
    bytes: doc.plan.bytes,
    manifestBytes,
    s3Path: `${bucket}/${doc.prefix}`,
    createdAt: doc.createdAt,
    ...(doc.place === "uploads" ? { expiresAt: doc.expiresAt } : {}),
  };
}

function shownIf(found: ArrivingArtifact | undefined): ResolvedArtifact | undefined {
  return found === undefined ? undefined : shown(found.announcement);
}

function shown({ record }: Announcement): ResolvedArtifact {
  return { ...record, arriving: true };
}

function announcedPrefix(room: RoomId): string {
  return `${room}/announced/`;
}

function announcementKey(room: RoomId, artifact: ArtifactId): string {
  return `${announcedPrefix(room)}${artifact}.json`;
}

// The bytes of a model that is no more: its folder, and the record by which the artifact is found (docs/protocol/registry.md, "Keeping and removing").
// The record goes first, in steps that others see, because the same content may be needed elsewhere:
//
//   live ─▶ released ──(a name or a job means it)──▶ live again
//              └──▶ over ─▶ gone ─▶ the folder's objects
//
// Whoever comes to need an artifact writes that down and then looks at the record; whoever removes it ends the record and then looks
// who needs it. One of the two sees the other. Every step may be done again, by any hub.
import type { ArtifactId, ArtifactRecord, RoomId } from "@waybill/sdk/protocol";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Clock } from "../log.ts";
import type { Place } from "../storage/storage.ts";

/** Where a model's bytes lie, `bucket/prefix/`. */
export type ModelPlace = { readonly artifact: ArtifactId; readonly s3Path: string };

/** Who else needs an artifact; asked when its record has ended. */
export type OtherNeeds = {
  /** Another place of the same content that a model has. */
  readonly twin: () => Promise<ArtifactRecord | undefined>;
  /** Why this very place must stay. */
  readonly reason: () => Promise<string | undefined>;
};

export type ModelBytesDeps = {
  readonly place: Place;
  readonly records: Pick<ArtifactRecords, "revise" | "drop" | "enter">;
  readonly clock: Clock;
};

/** From here on nobody brings the record back. */
const OVER = new Date(0).toISOString();
/** Keys in one request; S3 takes no more. */
const DELETE_BATCH = 1000;

export class ModelBytes {
  readonly #deps: ModelBytesDeps;

  constructor(deps: ModelBytesDeps) {
    this.#deps = deps;
  }

  /**
   * Lets the artifact be found no more, unless its record points elsewhere or somebody needs this place: why is then the answer.
   * Where another place has the same content, that one is found from now on.
   */
  async release(room: RoomId, at: ModelPlace, others: OtherNeeds): Promise<string | undefined> {
    const { records, clock } = this.#deps;
    const now = new Date(clock()).toISOString();
    const released = await records.revise(room, at, (record) =>
      record.expiresAt === undefined ? { ...record, expiresAt: now } : undefined,
    );
    if (released === undefined) return undefined;
    const twin = await others.twin();
    if (twin !== undefined) {
      await records.revise(room, at, () => twin);
      return undefined;
    }
    const reason = await others.reason();
    if (reason !== undefined) {
      const back = await records.revise(room, at, revived);
      if (back?.expiresAt !== OVER) return reason;
    }
    const over = await records.revise(room, at, (record) =>
      record.expiresAt === undefined || record.expiresAt === OVER
        ? undefined
        : { ...record, expiresAt: OVER },
    );
    // Another hub has found a reason.
    if (over !== undefined && over.expiresAt === undefined) return "it is needed again";
    await records.drop(room, at);
    // No store deletes on a condition: a model that entered in this moment may have lost its record with the other.
    const late = await others.twin();
    if (late !== undefined) await records.enter(room, late);
    return undefined;
  }

  /** Deletes everything below the place, parts of uploads that never ended included. Answers how much it was. */
  async empty(room: RoomId, s3Path: string): Promise<{ readonly objects: number }> {
    const { bucket, multipart } = this.#deps.place;
    const prefix = this.prefixOf(room, s3Path);
    if (prefix === undefined) return { objects: 0 };
    for await (const open of multipart.list(prefix)) await multipart.abort(open.key, open.uploadId);
    let objects = 0;
    let batch: string[] = [];
    for await (const { key } of bucket.list(prefix)) {
      batch.push(key);
      objects += 1;
      if (batch.length < DELETE_BATCH) continue;
      await bucket.delete(batch);
      batch = [];
    }
    if (batch.length > 0) await bucket.delete(batch);
    return { objects };
  }

  /** The prefix of a place that is a model's folder of the room; what lies elsewhere is not a model's to empty. */
  prefixOf(room: RoomId, s3Path: string): string | undefined {
    const head = `${this.#deps.place.bucket.name}/`;
    const prefix = s3Path.slice(head.length);
    const models = `${room}/models/`;
    const isFolder = /^[^/]+\/$/.test(prefix.slice(models.length));
    return s3Path.startsWith(head + models) && isFolder ? prefix : undefined;
  }
}

/** A record that is found again, unless it is over for good. */
function revived(record: ArtifactRecord): ArtifactRecord {
  if (record.expiresAt === OVER) return record;
  const { expiresAt: _, ...rest } = record;
  return rest;
}

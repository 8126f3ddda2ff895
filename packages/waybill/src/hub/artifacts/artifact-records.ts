// What artifacts a room holds, and under which names:
//
//   {room}/artifacts/{artifactId}.json      the record
//   {room}/names/{name, percent-encoded}.json   which artifact a name means now
//
// Both are written after an upload's completion and can be written again from it at any time.
import {
  type ArtifactId,
  ArtifactName,
  ArtifactId as ArtifactIdSchema,
  ArtifactRecord,
  type RoomId,
  Timestamp,
  WaybillError,
} from "@waybill/sdk/protocol";
import { createHash } from "node:crypto";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import type { Clock } from "../log.ts";
import { CheckpointRecords } from "./checkpoint-records.ts";

const NameDoc = v.object({
  name: ArtifactName,
  artifact: ArtifactIdSchema,
  /** When the artifact was completed or last pushed under this name. */
  at: Timestamp,
});

/** Records change when a dataset is kept or renewed; that may be seen so much later. */
const MAX_AGE_MS = 5000;
/** Longer encoded names are stored by their hash: S3 keys end at 1024 bytes. */
const MAX_NAME_KEY = 600;
/** Records read at once for a list. */
const PARALLEL = 32;
/** Digits of an id that may stand for it. */
const MIN_PREFIX = 8;

export class ArtifactRecords {
  readonly #documents: Documents;
  readonly #clock: Clock;
  /** Kept apart from the others. */
  readonly checkpoints: CheckpointRecords;

  constructor(init: { readonly documents: Documents; readonly clock: Clock }) {
    this.#documents = init.documents;
    this.#clock = init.clock;
    this.checkpoints = new CheckpointRecords(init.documents);
  }

  /** The record of an artifact the room holds now; `undefined` when it does not, or not any more. */
  async find(room: RoomId, artifact: ArtifactId): Promise<ArtifactRecord | undefined> {
    const record = await this.#read(room, artifact);
    return record === undefined || this.#isOver(record) ? undefined : record;
  }

  /** The record by id; throws `not_found`, or `expired` when its time is over. */
  async get(room: RoomId, artifact: ArtifactId): Promise<ArtifactRecord> {
    const record = await this.#read(room, artifact);
    if (record === undefined) throw unknown(room, artifact);
    if (!this.#isOver(record)) return record;
    throw new WaybillError("expired", `${record.name} (${artifact.slice(0, 12)}…) has expired`, {
      hint: "push it again; with --keep it stays until removed",
    });
  }

  /**
   * The record an id, a prefix of at least 8 digits or a name stands for. Throws `not_found`, `expired`, or
   * `conflict` when a prefix fits several.
   */
  async resolve(room: RoomId, ref: string): Promise<ArtifactRecord> {
    const id = v.safeParse(ArtifactIdSchema, ref);
    if (id.success) return this.get(room, id.output);
    const named = await this.#documents.read(NameDoc, nameKey(room, ref), { maxAgeMs: 0 });
    if (named !== undefined) {
      const record = await this.#read(room, named.doc.artifact);
      if (record !== undefined) return this.get(room, named.doc.artifact);
      // It was known by several names and has gone under another one.
      const newest = (await this.#under(room, ref)).at(-1);
      if (newest !== undefined) return newest;
    }
    if (new RegExp(`^[0-9a-f]{${MIN_PREFIX},64}$`).test(ref)) {
      const ids = await this.#idsWithPrefix(room, ref);
      const only = ids[0];
      if (ids.length === 1 && only !== undefined) return this.get(room, only);
      if (ids.length > 1) {
        const some = ids.slice(0, 4).map((match) => match.slice(0, 16));
        throw new WaybillError("conflict", `${ref} may be ${some.join(", ")}…`, {
          hint: "give more digits",
        });
      }
    }
    throw unknown(room, ref);
  }

  /** Everything the room holds now, by name. */
  async list(room: RoomId): Promise<ArtifactRecord[]> {
    const ids = await this.#idsWithPrefix(room, "");
    const records = await mapLimited(ids, PARALLEL, (id) => this.find(room, id));
    return records
      .filter((record) => record !== undefined)
      .sort((a, b) =>
        a.name === b.name ? compare(a.createdAt, b.createdAt) : compare(a.name, b.name),
      );
  }

  /**
   * Enters a completed artifact and points its name at it. Of two places that hold the same artifact the one
   * that stays longer is recorded; a model is never recorded as a dataset. Only datasets have names here:
   * models have aliases. Idempotent.
   */
  async enter(room: RoomId, record: ArtifactRecord): Promise<void> {
    if (record.kind === "checkpoint") return this.checkpoints.enter(room, record);
    await Promise.all([
      this.#write(ArtifactRecord, recordKey(room, record.artifact), record, (known) =>
        this.#isBetter(record, known),
      ),
      record.kind === "dataset" ? this.#enterName(room, record) : undefined,
    ]);
  }

  /** Removes the record if it points to this place; its name passes to the newest that is left under it. */
  async remove(room: RoomId, record: ArtifactRecord): Promise<void> {
    if (record.kind === "checkpoint") return this.checkpoints.remove(room, record);
    const known = await this.#documents.read(ArtifactRecord, recordKey(room, record.artifact));
    if (known === undefined || known.doc.s3Path !== record.s3Path) return;
    const key = nameKey(room, record.name);
    const named = await this.#documents.read(NameDoc, key);
    // The name first: cut off here, the record is still there and the next sweep comes back.
    if (named?.doc.artifact === record.artifact) {
      await this.#documents.delete(key);
      const others = await this.#under(room, record.name);
      const newest = others.filter(({ artifact }) => artifact !== record.artifact).at(-1);
      if (newest !== undefined) await this.#enterName(room, newest);
    }
    await this.#documents.delete(recordKey(room, record.artifact));
  }

  /**
   * Lets a name mean an artifact the room holds from now on, as pushing it under that name does. Names it had before
   * lead to it still; its record shows the newest. Idempotent.
   */
  async giveName(room: RoomId, record: ArtifactRecord, name: ArtifactName): Promise<void> {
    const at = new Date(this.#clock()).toISOString();
    const doc = { name, artifact: record.artifact, at };
    await Promise.all([
      this.#write(
        NameDoc,
        nameKey(room, name),
        doc,
        (known) => known.artifact !== record.artifact && known.at <= at,
      ),
      this.#documents.update(ArtifactRecord, recordKey(room, record.artifact), (known) =>
        known === undefined || known.kind === "model" || known.name === name
          ? undefined
          : { ...known, name },
      ),
    ]);
  }

  /** The record as the store has it now, not as it is remembered. */
  async stored(room: RoomId, artifact: ArtifactId): Promise<ArtifactRecord | undefined> {
    const record = (await this.#documents.read(ArtifactRecord, recordKey(room, artifact)))?.doc;
    return record === undefined || this.#isOver(record) ? undefined : record;
  }

  /** Names that mean one of these artifacts now, one for each. */
  async namesOf(
    room: RoomId,
    artifacts: ReadonlySet<ArtifactId>,
  ): Promise<Map<ArtifactId, ArtifactName>> {
    const names = new Map<ArtifactId, ArtifactName>();
    if (artifacts.size === 0) return names;
    const keys: string[] = [];
    for await (const { key } of this.#documents.bucket.list(`${room}/names/`)) keys.push(key);
    await mapLimited(keys, PARALLEL, async (key) => {
      const named = await this.#documents.read(NameDoc, key);
      if (named === undefined || !artifacts.has(named.doc.artifact)) return;
      names.set(named.doc.artifact, named.doc.name);
    });
    return names;
  }

  /**
   * Changes the record of a place that is to be emptied; `undefined` leaves it. Answers it as it is afterwards if it still
   * points to that place.
   */
  async revise(
    room: RoomId,
    { artifact, s3Path }: Pick<ArtifactRecord, "artifact" | "s3Path">,
    edit: (record: ArtifactRecord) => ArtifactRecord | undefined,
  ): Promise<ArtifactRecord | undefined> {
    const updated = await this.#documents.update(
      ArtifactRecord,
      recordKey(room, artifact),
      (known) => (known?.s3Path === s3Path ? edit(known) : undefined),
    );
    return updated?.doc.s3Path === s3Path ? updated.doc : undefined;
  }

  /** Deletes the record of an emptied place, if it is over and has not become another's. */
  async drop(
    room: RoomId,
    { artifact, s3Path }: Pick<ArtifactRecord, "artifact" | "s3Path">,
  ): Promise<void> {
    const key = recordKey(room, artifact);
    const known = (await this.#documents.read(ArtifactRecord, key))?.doc;
    if (known?.s3Path === s3Path && this.#isOver(known)) await this.#documents.delete(key);
  }

  /** Datasets that were last pushed under a name, oldest first. */
  async #under(room: RoomId, name: string): Promise<ArtifactRecord[]> {
    const all = await this.list(room);
    return all.filter((record) => record.kind === "dataset" && record.name === name);
  }

  async #enterName(room: RoomId, { name, artifact, createdAt }: ArtifactRecord): Promise<void> {
    const doc = { name, artifact, at: createdAt };
    await this.#write(NameDoc, nameKey(room, name), doc, (known) => known.at < createdAt);
  }

  /** Creates without asking first, because most are new; otherwise replaces what is worse. */
  async #write<T>(
    schema: v.GenericSchema<unknown, T>,
    key: string,
    doc: T,
    replaces: (known: T) => boolean,
  ): Promise<void> {
    try {
      await this.#documents.create(schema, key, doc);
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
      await this.#documents.update(schema, key, (known) =>
        known === undefined || replaces(known) ? doc : undefined,
      );
    }
  }

  #isBetter(record: ArtifactRecord, known: ArtifactRecord): boolean {
    if (this.#isOver(known)) return true;
    if (record.kind !== known.kind) return record.kind === "model";
    if (known.expiresAt === undefined) return false;
    return record.expiresAt === undefined || record.expiresAt > known.expiresAt;
  }

  #isOver(record: ArtifactRecord): boolean {
    return record.expiresAt !== undefined && Date.parse(record.expiresAt) <= this.#clock();
  }

  async #read(room: RoomId, artifact: ArtifactId): Promise<ArtifactRecord | undefined> {
    const key = recordKey(room, artifact);
    return (await this.#documents.read(ArtifactRecord, key, { maxAgeMs: MAX_AGE_MS }))?.doc;
  }

  async #idsWithPrefix(room: RoomId, prefix: string): Promise<ArtifactId[]> {
    const folder = `${room}/artifacts/`;
    const ids: ArtifactId[] = [];
    for await (const { key } of this.#documents.bucket.list(folder + prefix)) {
      const id = v.safeParse(ArtifactIdSchema, key.slice(folder.length).replace(/\.json$/, ""));
      if (id.success) ids.push(id.output);
    }
    return ids;
  }
}

function recordKey(room: RoomId, artifact: ArtifactId): string {
  return `${room}/artifacts/${artifact}.json`;
}

function nameKey(room: RoomId, name: string): string {
  const encoded = encodeURIComponent(name);
  const hash = () => createHash("sha256").update(name).digest("hex");
  return `${room}/names/${encoded.length > MAX_NAME_KEY ? `~${hash()}` : encoded}.json`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : 1;
}

function unknown(room: RoomId, ref: string): WaybillError {
  return new WaybillError("not_found", `room ${room} holds no artifact ${ref}`, {
    hint: "see what it holds: `waybill artifact ls`",
  });
}

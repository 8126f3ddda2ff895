// Removed models whose time is over lose their bytes (docs/protocol/registry.md, "Keeping and removing"). What is marked `purging` was begun, by this hub or by
// one that was killed; every step may be done again, and by two hubs at once.
import type {
  ArtifactId,
  ArtifactRecord,
  ModelEntry,
  ModelId,
  Registry,
  RoomId,
  Tombstone,
} from "@waybill/sdk/protocol";
import { beginPurge, cancelPurge, duePurges, endPurge } from "@waybill/sdk/registry";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Documents } from "../bucket/documents.ts";
import type { JobUses } from "../jobs/index.ts";
import type { Clock, Log } from "../log.ts";
import type { ModelBytes, ModelPlace, OtherNeeds } from "./model-bytes.ts";
import { type RegistryWriter, readRegistry } from "./room-registry.ts";

export type PurgesDeps = {
  readonly documents: Documents;
  readonly writer: RegistryWriter;
  readonly bytes: ModelBytes;
  readonly records: Pick<ArtifactRecords, "stored" | "namesOf">;
  /** The record of the upload that has filled a model's own folder. */
  readonly filled: (room: RoomId, model: ModelId) => Promise<ArtifactRecord | undefined>;
  readonly uses: (room: RoomId) => Promise<JobUses>;
  readonly clock: Clock;
  readonly log: Log;
};

/** A folder below `models/` that no entry names. */
type UnnamedFolder = { readonly model: ModelId; readonly s3Path: string };

/** Removed models whose bytes go, and those whose bytes something needs. */
export type PurgePlan = {
  readonly goes: readonly Tombstone[];
  readonly needed: readonly { readonly tombstone: Tombstone; readonly why: string }[];
};

export class Purges {
  readonly #deps: PurgesDeps;

  constructor(deps: PurgesDeps) {
    this.#deps = deps;
  }

  /** What may go now. */
  async plan(room: RoomId, registry: Registry): Promise<PurgePlan> {
    const due = duePurges(registry, this.#deps.clock());
    if (due.length === 0) return { goes: [], needed: [] };
    const needs = await this.#needs(
      room,
      due.map(({ entry }) => entry),
    );
    const goes: Tombstone[] = [];
    const needed: { tombstone: Tombstone; why: string }[] = [];
    for (const tombstone of due) {
      const why = needs.get(tombstone.entry.id);
      // What was begun is finished: some of it may be gone.
      if (why === undefined || tombstone.state === "purging") goes.push(tombstone);
      else needed.push({ tombstone, why });
    }
    return { goes, needed };
  }

  /** Purges at most `limit` models of a plan; answers those whose bytes are gone now. */
  async run(room: RoomId, { goes }: PurgePlan, limit: number): Promise<Tombstone[]> {
    const { writer, clock } = this.#deps;
    const chosen = new Map(goes.slice(0, limit).map((one) => [one.entry.id, one]));
    if (chosen.size === 0) return [];
    const begun = await writer.edit(room, (registry) =>
      beginPurge(registry, [...chosen.keys()], clock()),
    );
    const done: Tombstone[] = [];
    for (const id of begun) {
      const tombstone = chosen.get(id);
      if (tombstone !== undefined && (await this.#purge(room, tombstone))) done.push(tombstone);
    }
    return done;
  }

  /** Ends the record that a folder nobody published may have; `false` when its bytes are needed. */
  async releaseFolder(room: RoomId, { model, s3Path }: UnnamedFolder): Promise<boolean> {
    const record = await this.#deps.filled(room, model);
    if (record?.s3Path !== s3Path) return true;
    const { artifact } = record;
    const at = { artifact, s3Path };
    const why = await this.#deps.bytes.release(room, at, this.#othersOf(room, model, at));
    return why === undefined;
  }

  async #purge(room: RoomId, { entry }: Tombstone): Promise<boolean> {
    const { bytes, writer, clock, log } = this.#deps;
    const { id, artifact, storage } = entry;
    const at = { artifact, s3Path: storage.s3_path };
    const why = await bytes.release(room, at, this.#othersOf(room, id, at));
    if (why !== undefined) {
      await writer.edit(room, (registry) => cancelPurge(registry, [id]));
      log("info", "bytes of a removed model stay", { room, model: id, why });
      return false;
    }
    const { objects } = await bytes.empty(room, storage.s3_path);
    const when = new Date(clock()).toISOString();
    await writer.edit(room, (registry) => endPurge(registry, [id], when));
    log("info", "bytes of a removed model are gone", {
      room,
      model: id,
      objects,
      bytes: storage.size_bytes,
    });
    return true;
  }

  #othersOf(room: RoomId, model: ModelId, at: ModelPlace): OtherNeeds {
    const { documents, filled } = this.#deps;
    return {
      twin: async () => {
        const { models, tombstones } = await readRegistry(documents, room);
        const held = Object.values(tombstones).filter(({ state }) => state === "held");
        const entries = [...Object.values(models), ...held.map(({ entry }) => entry)];
        for (const { id, artifact } of entries) {
          if (artifact !== at.artifact || id === model) continue;
          const record = await filled(room, id);
          if (record?.artifact === artifact && record.s3Path !== at.s3Path) return record;
        }
        return undefined;
      },
      reason: async () => (await this.#reasons(room, new Set([at.artifact]))).get(at.artifact),
    };
  }

  /** Why the bytes of some of these must stay, by model. */
  async #needs(room: RoomId, entries: readonly ModelEntry[]): Promise<Map<ModelId, string>> {
    const { records } = this.#deps;
    const here: ModelEntry[] = [];
    for (const entry of entries) {
      // Only the place that the record names is what others read.
      const record = await records.stored(room, entry.artifact);
      if (record?.s3Path === entry.storage.s3_path) here.push(entry);
    }
    const reasons = await this.#reasons(room, new Set(here.map(({ artifact }) => artifact)));
    return new Map(
      here.flatMap(({ id, artifact }): [ModelId, string][] => {
        const why = reasons.get(artifact);
        return why === undefined ? [] : [[id, why]];
      }),
    );
  }

  async #reasons(
    room: RoomId,
    artifacts: ReadonlySet<ArtifactId>,
  ): Promise<Map<ArtifactId, string>> {
    const reasons = new Map<ArtifactId, string>();
    if (artifacts.size === 0) return reasons;
    const [names, uses] = await Promise.all([
      this.#deps.records.namesOf(room, artifacts),
      this.#deps.uses(room),
    ]);
    for (const artifact of artifacts) {
      const name = names.get(artifact);
      const job = uses.artifacts.get(artifact);
      if (name !== undefined) reasons.set(artifact, `it is data set ${name}, too`);
      else if (job !== undefined) reasons.set(artifact, `job ${job} needs it`);
    }
    return reasons;
  }
}

// Looking through a room's registry, and making it again when it is damaged (docs/protocol/registry-storage.md §5). The rebuilt
// document enters as any other does: record, snapshot, and a write on the condition that nobody else has made it good.
import {
  type ModelId,
  type Registry,
  type RegistryReport,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";
import {
  type WriteName,
  emptyRegistry,
  recordOf,
  revised,
  withoutLostAliases,
} from "@waybill/sdk/registry";
import { isDeepStrictEqual } from "node:util";
import type { Fetched, PutCondition } from "../bucket/bucket.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import type { Clock, Log } from "../log.ts";
import { type AdoptionDeps, adopt, recoveredEntry } from "./adoption.ts";
import { comparePlaces, listModelPlaces, withTrueAvailability } from "./model-places.ts";
import { decodeObject, encodeObject, newWrite } from "./registry-document.ts";
import { damagedPrefix, recordKey, registryKey, snapshotKey } from "./registry-keys.ts";
import { type Reconstruction, reconstruct } from "./remains.ts";
import { RegistryWriter } from "./room-registry.ts";

export type RegistryCareDeps = AdoptionDeps & { readonly clock: Clock; readonly log: Log };

export type Rebuilt = {
  readonly report: RegistryReport;
  readonly written: boolean;
  readonly adopted: ModelId[];
  readonly kept?: string;
};

/** Reservations, uploads and jobs read at once. */
const PARALLEL = 16;

const JSON_TYPE = { contentType: "application/json" } as const;

export class RegistryCare {
  readonly #deps: RegistryCareDeps;
  readonly #writer: RegistryWriter;

  constructor(deps: RegistryCareDeps) {
    this.#deps = deps;
    this.#writer = new RegistryWriter(deps.documents);
  }

  /** What is to be said of a registry; changes nothing. Throws `unsupported_version`, `storage_failed`. */
  async check(room: RoomId): Promise<RegistryReport> {
    const { found, made } = await this.#look(room);
    const { registry, lost } = withoutLostAliases(found.registry ?? made.registry);
    const report = await this.#report(registry, found.damage, made, lost);
    const { plan } = made;
    const leadsThere = plan.holes.length === 0 && plan.head?.write === found.registry?.write;
    if (!leadsThere || isDeepStrictEqual(made.registry, found.registry)) return report;
    const differs = "snapshot and records give another registry than the one stored";
    return { ...report, unreadable: [...report.unreadable, differs] };
  }

  /**
   * The registry as snapshots and journal tell it, when the stored one is damaged; and in any case with `in_s3` as it is and,
   * if that is asked for, with models that nothing names. Throws as `check`, and `conflict` when the document changed meanwhile.
   */
  async rebuild(
    room: RoomId,
    { dryRun, adopt: adopting }: { readonly dryRun: boolean; readonly adopt: boolean },
    who: string,
  ): Promise<Rebuilt> {
    const { found, made } = await this.#look(room);
    const { registry: begun, lost } = withoutLostAliases(found.registry ?? made.registry);
    const places = await listModelPlaces(this.#deps.documents.bucket, room);
    const facts = comparePlaces(this.#deps.documents.bucket, begun, places);
    const entries = adopting ? await this.#recovered(room, facts.without_entry) : [];
    const adopted = entries.map(({ id }) => id);
    const mend = (registry: Registry) => adopt(withTrueAvailability(registry, facts), entries);

    const after = mend(begun);
    const report = await this.#report(after, dryRun ? found.damage : undefined, made, lost);
    const changes = found.damage !== undefined || after !== begun;
    if (dryRun || !changes) return { report, written: false, adopted };
    let kept: string | undefined;
    if (found.damage === undefined) {
      await this.#writer.edit(room, (registry) => ({
        registry: mend(registry),
        result: undefined,
      }));
    } else {
      kept = await this.#replace(room, found.object, { ...made, registry: begun }, after);
    }
    const { damage } = found;
    this.#deps.log("warn", "registry rebuilt", { room, who, damage, kept });
    return {
      report: {
        ...report,
        revision: 1 + (damage === undefined ? begun.revision : made.maxRevision),
      },
      written: true,
      adopted,
      ...(kept === undefined ? {} : { kept }),
    };
  }

  async #look(room: RoomId) {
    const { bucket } = this.#deps.documents;
    const found = await this.#read(room);
    const made = await reconstruct(bucket, room, found.write);
    const { head } = made.plan;
    const { registry } = found;
    if (registry === undefined) {
      // A room without models has neither document nor journal.
      if (found.object === undefined && head === undefined) {
        return {
          found: { object: undefined, registry: emptyRegistry(room), damage: undefined },
          made,
        };
      }
      const damage = found.damage ?? "it is gone, and what lies beside it says that there was one";
      return { found: { object: found.object, registry, damage }, made };
    }
    if (head !== undefined && head.revision > registry.revision) {
      const damage = `it is of revision ${registry.revision}, and its journal goes on to ${head.revision}`;
      return { found: { object: found.object, registry: undefined, damage }, made };
    }
    return { found: { object: found.object, registry, damage: undefined }, made };
  }

  async #read(room: RoomId): Promise<{
    readonly object?: Fetched;
    readonly registry?: Registry;
    readonly damage?: string;
    readonly write?: WriteName;
  }> {
    const object = await this.#deps.documents.bucket.get(registryKey(room));
    if (object === undefined) return {};
    const revision = Number(object.metadata["revision"]);
    const said =
      object.writeId === undefined || !Number.isSafeInteger(revision)
        ? {}
        : { write: { revision, write: object.writeId } };
    try {
      const registry = await decodeObject(registryKey(room), object);
      const write = { revision: registry.revision, write: registry.write };
      return { object, registry, ...(registry.write === "" ? {} : { write }) };
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "registry_damaged") throw error;
      return { object, damage: error.message.replace(/^.*? is damaged: /, ""), ...said };
    }
  }

  async #report(
    registry: Registry,
    damage: string | undefined,
    { plan, unreadable }: Reconstruction,
    lost: readonly string[],
  ): Promise<RegistryReport> {
    const { bucket } = this.#deps.documents;
    const places = await listModelPlaces(bucket, registry.room);
    return {
      ...(damage === undefined ? {} : { damage }),
      revision: registry.revision,
      models: Object.keys(registry.models).length,
      aliases: Object.keys(registry.aliases).length,
      tombstones: Object.keys(registry.tombstones).length,
      alias_moves: registry.alias_history.length,
      ...(plan.base === undefined ? {} : { snapshot: plan.base.revision }),
      records: plan.chain.length,
      holes: plan.holes.map(([first, last]): [number, number] => [first, last]),
      lost_aliases: [...lost],
      unreadable: [...unreadable],
      ...comparePlaces(bucket, registry, places),
    };
  }

  async #recovered(room: RoomId, places: RegistryReport["without_entry"]) {
    const ids = places.flatMap(({ model }) => model ?? []);
    const entries = await mapLimited(ids, PARALLEL, (id) => recoveredEntry(this.#deps, room, id));
    return entries.filter((entry) => entry !== undefined);
  }

  /** Stores `after` in place of a damaged document, which is kept aside; answers where. */
  async #replace(
    room: RoomId,
    object: Fetched | undefined,
    { registry, plan, maxRevision }: Reconstruction,
    after: Registry,
  ): Promise<string | undefined> {
    const { documents, clock } = this.#deps;
    const { bucket } = documents;
    const key = registryKey(room);
    const at = new Date(clock()).toISOString();
    const kept = object && (await this.#keepAside(room, object, at));
    const next = revised({ ...after, revision: maxRevision }, newWrite());
    // The records of lost races may have gone further than the line of writes: then nothing leads here but the snapshot.
    const write = plan.head?.revision === maxRevision ? registry.write : "";
    const record = recordOf({ ...registry, revision: maxRevision, write }, next, at);
    const { body, ...facts } = encodeObject(next);
    await bucket.put(recordKey(room, next), JSON.stringify(record), JSON_TYPE);
    await bucket.put(snapshotKey(room, next), body, { ...JSON_TYPE, ...facts });
    const condition: PutCondition =
      object === undefined ? { ifAbsent: true } : { ifMatch: object.etag };
    try {
      await bucket.put(key, body, { ...JSON_TYPE, ...facts, condition });
    } catch (cause) {
      if (!(cause instanceof WaybillError) || cause.code !== "precondition_failed") throw cause;
      throw changedMeanwhile(room, cause);
    } finally {
      documents.forget(key);
    }
    return kept;
  }

  async #keepAside(room: RoomId, { etag }: Fetched, at: string): Promise<string> {
    const { bucket } = this.#deps.documents;
    const name = `${at.replaceAll(/[:.]/g, "-")}-${etag.replaceAll(/[^\w-]/g, "")}.json`;
    const kept = damagedPrefix(room) + name;
    try {
      const options = { ifSourceMatch: etag };
      const copied = await bucket.copyFrom(bucket, registryKey(room), kept, options);
      if (copied !== undefined) return `${bucket.name}/${kept}`;
    } catch (cause) {
      if (!(cause instanceof WaybillError) || cause.code !== "precondition_failed") throw cause;
    }
    throw changedMeanwhile(room);
  }
}

function changedMeanwhile(room: RoomId, cause?: unknown): WaybillError {
  return new WaybillError("conflict", `the registry of room ${room} changed meanwhile`, {
    hint: "look at it again with `waybill registry check`",
    ...(cause === undefined ? {} : { cause }),
  });
}

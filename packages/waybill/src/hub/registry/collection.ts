// Collecting what a room keeps no more: models its rules let go, bytes of removed models, folders nobody published, checkpoints
// of jobs that are over, uploads that expired (docs/protocol/registry.md, "Keeping and removing"). The plan and the collection are made by the same functions;
// the hub collects by itself in rooms that have rules, a bounded piece each round.
import type { GcItem, GcKept, GcReport, Registry, RoomId, Tombstone } from "@waybill/sdk/protocol";
import { applyRetention, hasRules, planRetention } from "@waybill/sdk/registry";
import type { Documents } from "../bucket/documents.ts";
import type { CheckpointLeftover, JobUses } from "../jobs/index.ts";
import type { Clock, Log } from "../log.ts";
import type { ExpiredUpload } from "../uploads/uploads-area.ts";
import { type LeftoverFolder, isNamed, leftoverFolders } from "./leftover-folders.ts";
import type { ModelBytes } from "./model-bytes.ts";
import type { PurgePlan, Purges } from "./purges.ts";
import { type RegistryWriter, readRegistry } from "./room-registry.ts";

export type CollectionDeps = {
  readonly documents: Documents;
  readonly writer: RegistryWriter;
  readonly purges: Purges;
  readonly bytes: ModelBytes;
  readonly uses: (room: RoomId) => Promise<JobUses>;
  readonly checkpoints: {
    readonly leftovers: (room: RoomId) => Promise<CheckpointLeftover[]>;
    readonly sweep: (room: RoomId) => Promise<void>;
  };
  readonly uploads: {
    readonly expired: (room: RoomId) => Promise<ExpiredUpload[]>;
    readonly sweep: (room: RoomId) => Promise<unknown>;
  };
  readonly clock: Clock;
  readonly log: Log;
};

/** Models that leave the registry in one write: entries of some megabytes at most. */
const RETIRED_AT_ONCE = 200;
/** Folders emptied by one request, so that it ends before its client gives up. */
const EMPTIED_AT_ONCE = 50;
/** Folders emptied in one round of the sweeper, which has other rooms to look after. */
const EMPTIED_A_ROUND = 20;
/** Listing every folder of a room costs a request a thousand. */
const LEFTOVERS_EVERY_MS = 3_600_000;
/** Who removes what the rules let go. */
const HUB = "hub";

type Found = {
  readonly registry: Registry;
  readonly purges: PurgePlan;
  readonly used: ReadonlyMap<string, string>;
  readonly folders: readonly LeftoverFolder[];
  readonly checkpoints: readonly CheckpointLeftover[];
  readonly uploads: readonly ExpiredUpload[];
};

export class Collection {
  readonly #deps: CollectionDeps;
  /** When a room's folders were listed last. */
  readonly #listedAtMs = new Map<RoomId, number>();

  constructor(deps: CollectionDeps) {
    this.#deps = deps;
  }

  /** What `run` would do now. */
  async plan(room: RoomId): Promise<GcReport> {
    const found = await this.#look(room);
    const nowMs = this.#deps.clock();
    const { goes } = planRetention(found.registry, nowMs, found.used);
    const { grace_hours } = found.registry.retention;
    const until = new Date(nowMs + grace_hours * 3_600_000).toISOString();
    return this.#report(
      found,
      [
        ...goes.map(({ entry, why }) => modelItem(entry, why, until)),
        ...found.purges.goes.map(bytesItem),
        ...found.folders.filter(({ goes: leaves }) => leaves).map(folderItem),
        ...otherItems(found),
      ],
      false,
    );
  }

  /** Collects a bounded piece; `more` says that another is left. */
  async run(room: RoomId): Promise<GcReport> {
    const { purges, checkpoints, uploads } = this.#deps;
    const before = await this.#look(room);
    const emptied = await purges.run(room, before.purges, EMPTIED_AT_ONCE);
    const folders = await this.#emptyFolders(room, before, EMPTIED_AT_ONCE - emptied.length);
    const { buried, more } = await this.#retire(room, before.used);
    if (before.checkpoints.some(({ until }) => until === undefined)) await checkpoints.sweep(room);
    if (before.uploads.length > 0) await uploads.sweep(room);
    const leaving = before.folders.filter(({ goes }) => goes).length;
    const left = more || emptied.length < before.purges.goes.length || folders.length < leaving;
    const did = emptied.length + folders.length + buried.length > 0;
    const after = await readRegistry(this.#deps.documents, room);
    return this.#report(
      { ...before, registry: after },
      [
        ...buried.map(({ entry, why, bytes_until }) => modelItem(entry, why, bytes_until)),
        ...emptied.map(bytesItem),
        ...folders.map(folderItem),
        ...otherItems(before),
      ],
      left && did,
    );
  }

  /** One round of the hub's own. */
  async sweep(room: RoomId): Promise<void> {
    const { documents, purges, clock } = this.#deps;
    const registry = await readRegistry(documents, room);
    const due = await purges.plan(room, registry);
    const emptied = await purges.run(room, due, EMPTIED_A_ROUND);
    if (!hasRules(registry.retention)) return;
    if (planRetention(registry, clock()).goes.length > 0) {
      await this.#retire(room, await this.#used(room));
    }
    if (clock() - (this.#listedAtMs.get(room) ?? Number.NEGATIVE_INFINITY) < LEFTOVERS_EVERY_MS)
      return;
    const folders = await leftoverFolders(this.#places, room, registry, clock());
    const bound = EMPTIED_A_ROUND - emptied.length;
    const gone = await this.#emptyFolders(room, { folders }, bound);
    // With more left than a round may take, the next one goes on.
    if (gone.length < bound) this.#listedAtMs.set(room, clock());
  }

  async #look(room: RoomId): Promise<Found> {
    const { documents, purges, checkpoints, uploads, clock } = this.#deps;
    const registry = await readRegistry(documents, room);
    const [due, used, folders, leftovers, expired] = await Promise.all([
      purges.plan(room, registry),
      this.#used(room),
      leftoverFolders(this.#places, room, registry, clock()),
      checkpoints.leftovers(room),
      uploads.expired(room),
    ]);
    return { registry, purges: due, used, folders, checkpoints: leftovers, uploads: expired };
  }

  get #places(): Parameters<typeof leftoverFolders>[0] {
    const { documents } = this.#deps;
    return { rooms: documents.bucket, documents };
  }

  /** Models that running jobs are fine-tuned from. */
  async #used(room: RoomId): Promise<ReadonlyMap<string, string>> {
    const { models } = await this.#deps.uses(room);
    return new Map([...models].map(([id, job]) => [id, `job ${job} is fine-tuned from it`]));
  }

  async #retire(room: RoomId, used: ReadonlyMap<string, string>) {
    const { writer, clock, log } = this.#deps;
    const by = { who: HUB, owner: true, when: new Date(clock()).toISOString() };
    const retired = await writer.edit(room, (registry) =>
      applyRetention(registry, by, { limit: RETIRED_AT_ONCE, used }),
    );
    for (const { entry, why, bytes_until } of retired.buried) {
      log("info", "model removed", { room, model: entry.id, why, restorableUntil: bytes_until });
    }
    return retired;
  }

  async #emptyFolders(
    room: RoomId,
    { folders }: Pick<Found, "folders">,
    limit: number,
  ): Promise<LeftoverFolder[]> {
    const { documents, bytes, log } = this.#deps;
    const chosen = folders.filter(({ goes }) => goes).slice(0, Math.max(0, limit));
    if (chosen.length === 0) return [];
    // A job that has ended publishes nothing: what was not named when it had ended never will be.
    const registry = await readRegistry(documents, room);
    const gone: LeftoverFolder[] = [];
    for (const folder of chosen) {
      if (isNamed(registry, folder)) continue;
      // The artifact of an upload that had completed may be known, and needed: its record ends first.
      if (!(await this.#deps.purges.releaseFolder(room, folder))) continue;
      const { objects } = await bytes.empty(room, folder.s3Path);
      const facts = { room, folder: folder.folder, objects, bytes: folder.bytes, why: folder.why };
      log("info", "folder that nobody published removed", facts);
      gone.push(folder);
    }
    return gone;
  }

  #report(found: Found, goes: GcItem[], more: boolean): GcReport {
    const { registry } = found;
    const nowMs = this.#deps.clock();
    const leaving = new Set(goes.map(({ kind, name }) => `${kind} ${name}`));
    const { keeps } = planRetention(registry, nowMs, found.used);
    const needs = new Map(
      found.purges.needed.map(({ tombstone, why }) => [tombstone.entry.id, why]),
    );
    const waiting = Object.values(registry.tombstones).filter(
      ({ state, entry }) => state === "held" && !leaving.has(`bytes ${entry.id}`),
    );
    const kept: GcKept[] = [
      ...keeps.map(({ entry, why }) => ({
        kind: "model" as const,
        name: entry.id,
        modelType: entry.model_type,
        bytes: entry.storage.size_bytes,
        why: [...why],
      })),
      ...waiting.map((one) => waitingItem(one, needs.get(one.entry.id), nowMs)),
      ...found.folders
        .filter(({ goes: leaves }) => !leaves)
        .map(({ folder, modelType, bytes, why }) => ({
          kind: "folder" as const,
          name: folder,
          modelType,
          bytes,
          why: [why],
        })),
      ...found.checkpoints.flatMap(({ job, bytes, state, until }) =>
        until === undefined
          ? []
          : [
              {
                kind: "checkpoint" as const,
                name: job,
                bytes,
                why: [`its job ended: ${state}`],
                until,
              },
            ],
      ),
    ];
    const at = new Date(nowMs).toISOString();
    return { at, rules: registry.retention, goes, kept, more };
  }
}

function modelItem(
  { id, model_type, storage }: Tombstone["entry"],
  why: string,
  until: string,
): GcItem {
  const bytes = storage.size_bytes;
  return { kind: "model", name: id, modelType: model_type, bytes, why, until };
}

function bytesItem({ entry, who, by = who, when, why }: Tombstone): GcItem {
  const { id, model_type, storage } = entry;
  return {
    kind: "bytes",
    name: id,
    modelType: model_type,
    bytes: storage.size_bytes,
    why: `removed by ${by} on ${when.slice(0, 10)}: ${why}`,
  };
}

function folderItem({ folder, modelType, bytes, why }: LeftoverFolder): GcItem {
  return { kind: "folder", name: folder, modelType, bytes, why };
}

function otherItems({ checkpoints, uploads }: Pick<Found, "checkpoints" | "uploads">): GcItem[] {
  return [
    ...checkpoints
      .filter(({ until }) => until === undefined)
      .map(({ job, bytes, state }): GcItem => ({
        kind: "checkpoint",
        name: job,
        bytes,
        why: `its job ended: ${state}`,
      })),
    ...uploads.map(({ upload, bytes, why }): GcItem => ({
      kind: "upload",
      name: upload,
      bytes,
      why,
    })),
  ];
}

function waitingItem(
  { entry, who, by = who, when, why, bytes_until }: Tombstone,
  need: string | undefined,
  nowMs: number,
): GcKept {
  const isOver = Date.parse(bytes_until) <= nowMs;
  return {
    kind: "bytes",
    name: entry.id,
    modelType: entry.model_type,
    bytes: entry.storage.size_bytes,
    why: [
      `removed by ${by} on ${when.slice(0, 10)}: ${why}`,
      ...(need === undefined ? [] : [need]),
      ...(isOver && need === undefined ? ["another model has the same folder"] : []),
    ],
    until: bytes_until,
  };
}

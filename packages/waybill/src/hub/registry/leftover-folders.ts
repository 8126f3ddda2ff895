// Folders below `models/` that nobody published: of attempts that were lost, and of workers that wrote by themselves and were
// fenced (docs/protocol/registry.md, "Keeping and removing"). A folder goes only when nobody can publish it any more: its id was reserved for a job
// that has ended, and nothing came there for a day. What people pushed is theirs.
import {
  JobDoc,
  ModelId,
  ModelType,
  type Registry,
  type RoomId,
  isTerminal,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Bucket } from "../bucket/bucket.ts";
import type { Documents } from "../bucket/documents.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import { jobIdOf, jobKey } from "../jobs/job-keys.ts";
import { findReservation } from "./model-ids.ts";

export type LeftoverFolder = {
  readonly folder: string;
  /** `bucket/prefix/` */
  readonly s3Path: string;
  readonly model: ModelId;
  readonly modelType: ModelType;
  readonly bytes: number;
  readonly why: string;
  readonly goes: boolean;
};

export type LeftoverDeps = { readonly rooms: Bucket; readonly documents: Documents };

/** Far longer than a body under way can take. */
const SAFE_AGE_MS = 86_400_000;
const PARALLEL = 8;

/** Folders that no entry and no tombstone of the registry names. Nothing is changed. */
export async function leftoverFolders(
  deps: LeftoverDeps,
  room: RoomId,
  registry: Registry,
  nowMs: number,
): Promise<LeftoverFolder[]> {
  const named = namedPlaces(registry);
  const prefix = `${room}/models/`;
  const unnamed: string[] = [];
  for await (const name of deps.rooms.listFolders(prefix)) {
    if (!named.has(`${deps.rooms.name}/${prefix}${name}/`)) unnamed.push(name);
  }
  const found = await mapLimited(unnamed, PARALLEL, (name) => look(deps, room, name, nowMs));
  return found.filter((folder) => folder !== undefined);
}

/** A folder's place when it has become a model's meanwhile. */
export function isNamed(registry: Registry, { s3Path }: LeftoverFolder): boolean {
  return namedPlaces(registry).has(s3Path);
}

/** Purged models have no folder: what lies there came late. */
function namedPlaces({ models, tombstones }: Registry): Set<string> {
  const removed = Object.values(tombstones).filter(({ state }) => state !== "purged");
  const entries = [...Object.values(models), ...removed.map(({ entry }) => entry)];
  return new Set(entries.map(({ storage }) => storage.s3_path));
}

async function look(
  { rooms, documents }: LeftoverDeps,
  room: RoomId,
  folder: string,
  nowMs: number,
): Promise<LeftoverFolder | undefined> {
  // `{type}_{id}`, or `{type}_{id}.{attempt}` of a worker that wrote by itself.
  const [, type, id] = /^([a-z]\w*)_([0-9a-f]+)(?:\.\d+)?$/.exec(folder) ?? [];
  const model = v.safeParse(ModelId, id);
  const modelType = v.safeParse(ModelType, type);
  if (!model.success || !modelType.success) return undefined;
  const prefix = `${room}/models/${folder}/`;
  let bytes = 0;
  let newestMs = 0;
  for await (const { size, modifiedMs } of rooms.list(prefix)) {
    bytes += size;
    newestMs = Math.max(newestMs, modifiedMs);
  }
  const verdict = await judge(documents, room, model.output, newestMs, nowMs);
  const s3Path = `${rooms.name}/${prefix}`;
  return { folder, s3Path, model: model.output, modelType: modelType.output, bytes, ...verdict };
}

async function judge(
  documents: Documents,
  room: RoomId,
  model: ModelId,
  newestMs: number,
  nowMs: number,
): Promise<Pick<LeftoverFolder, "goes" | "why">> {
  const kept = (why: string) => ({ goes: false, why });
  const reservation = await findReservation(documents, room, model);
  if (reservation === undefined) return kept("nobody has reserved its id");
  const job = jobIdOf(reservation.owner);
  if (job === undefined) return kept("people pushed it: it is published when they push it again");
  const doc = (await documents.read(JobDoc, jobKey(room, job)))?.doc;
  if (doc === undefined) return kept(`nothing is known of its job ${job}`);
  if (!isTerminal(doc.state)) return kept(`job ${job} may publish it: it is ${doc.state}`);
  if (doc.model === model) {
    return kept(
      `job ${job} has published it, and the registry has no entry of it: check the registry`,
    );
  }
  const endedMs = Date.parse(doc.endedAt ?? doc.submittedAt);
  const ageMs = nowMs - Math.max(endedMs, newestMs);
  if (ageMs < SAFE_AGE_MS) return kept(`job ${job} ended (${doc.state}) less than a day ago`);
  const instead = doc.model === undefined ? "nothing of it" : `model ${doc.model} instead`;
  return { goes: true, why: `job ${job} ended (${doc.state}) and published ${instead}` };
}

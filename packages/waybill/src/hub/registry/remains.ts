// What lies beside a room's registry: records and snapshots, read and put in order (docs/protocol/registry-storage.md §5).
import type { JournalRecord, Registry, RoomId } from "@waybill/sdk/protocol";
import { WaybillError } from "@waybill/sdk/protocol";
import {
  type RebuildPlan,
  type WriteName,
  applyRecords,
  emptyRegistry,
  planRebuild,
} from "@waybill/sdk/registry";
import type { Bucket } from "../bucket/bucket.ts";
import { mapLimited } from "../bucket/map-limited.ts";
import { decodeObject, readRecord } from "./registry-document.ts";
import {
  journalPrefix,
  recordKey,
  registryKey,
  remainsPrefix,
  snapshotKey,
  snapshotPrefix,
  writeOf,
} from "./registry-keys.ts";

/** Records are small; more at once would only wait for each other. */
const PARALLEL = 32;

export type ListedWrite = WriteName & { readonly key: string; readonly modifiedMs: number };

/** Names of what there is, oldest revision first. */
export async function listRemains(
  bucket: Bucket,
  room: RoomId,
): Promise<{ readonly records: ListedWrite[]; readonly snapshots: ListedWrite[] }> {
  const [records, snapshots]: [ListedWrite[], ListedWrite[]] = [[], []];
  for await (const { key, modifiedMs } of bucket.list(remainsPrefix(room))) {
    const write = writeOf(key);
    if (write === undefined) continue;
    if (key.startsWith(journalPrefix(room))) records.push({ ...write, key, modifiedMs });
    if (key.startsWith(snapshotPrefix(room))) snapshots.push({ ...write, key, modifiedMs });
  }
  return { records, snapshots };
}

export type Reconstruction = {
  readonly plan: RebuildPlan;
  /** The registry as of the plan's head; aliases may name models that are lost. */
  readonly registry: Registry;
  /** Keys of what could not be read. */
  readonly unreadable: readonly string[];
  /** The highest revision that any name says. */
  readonly maxRevision: number;
};

/** The newest registry that snapshots and journal tell of. `document` is what the stored one says it is. */
export async function reconstruct(
  bucket: Bucket,
  room: RoomId,
  document: WriteName | undefined,
): Promise<Reconstruction> {
  const listed = await listRemains(bucket, room);
  const read = await mapLimited(listed.records, PARALLEL, ({ key }) => readRecord(bucket, key));
  const unreadable = listed.records.filter((_, i) => read[i] === undefined).map(({ key }) => key);
  const records = read.filter((each) => each !== undefined);
  const byKey = new Map(records.map((record) => [recordKey(room, record), record]));
  let { snapshots }: { snapshots: readonly ListedWrite[] } = listed;
  const revisions = [...listed.records, ...listed.snapshots, ...(document ? [document] : [])];
  const maxRevision = Math.max(0, ...revisions.map(({ revision }) => revision));
  for (;;) {
    const plan = planRebuild({ records, snapshots, document });
    const { base: from } = plan;
    const base = from === undefined ? emptyRegistry(room) : await readSnapshot(bucket, room, from);
    if (base === undefined) {
      unreadable.push(snapshotKey(room, from ?? { revision: 0, write: "" }));
      snapshots = snapshots.filter(({ write }) => write !== from?.write);
      continue;
    }
    const chain = plan.chain.flatMap((each) => byKey.get(recordKey(room, each)) ?? []);
    return { plan, registry: applyAll(base, chain, unreadable), unreadable, maxRevision };
  }
}

/** Applies what can be: a record that makes no registry is left out, and named. */
function applyAll(base: Registry, chain: readonly JournalRecord[], unreadable: string[]): Registry {
  try {
    return applyRecords(base, chain);
  } catch (error) {
    if (!(error instanceof WaybillError)) throw error;
  }
  let registry = base;
  for (const record of chain) {
    try {
      registry = applyRecords(registry, [record]);
    } catch (error) {
      if (!(error instanceof WaybillError)) throw error;
      unreadable.push(recordKey(base.room, record));
    }
  }
  return registry;
}

/** A snapshot that is whole and the one its name says; else `undefined`. */
export async function readSnapshot(
  bucket: Bucket,
  room: RoomId,
  name: WriteName,
): Promise<Registry | undefined> {
  const object = await bucket.get(snapshotKey(room, name));
  if (object === undefined) return undefined;
  try {
    const registry = await decodeObject(registryKey(room), object);
    const { revision, write } = registry;
    return revision === name.revision && write === name.write ? registry : undefined;
  } catch (error) {
    const code = error instanceof WaybillError ? error.code : undefined;
    if (code === "registry_damaged" || code === "unsupported_version") return undefined;
    throw error;
  }
}

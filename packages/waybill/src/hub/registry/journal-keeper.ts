// The sweeper's duty for journals (docs/protocol/registry-storage.md §2): a snapshot when many records have come since the last,
// and an end for records that no registry will ever be made of again.
import { type RoomId, WaybillError } from "@waybill/sdk/protocol";
import type { WriteName } from "@waybill/sdk/registry";
import type { Bucket } from "../bucket/bucket.ts";
import type { Clock } from "../log.ts";
import { readRecord } from "./registry-document.ts";
import { registryKey, snapshotKey } from "./registry-keys.ts";
import { type ListedWrite, listRemains, readSnapshot } from "./remains.ts";

/** Reading so many records takes less than a second; a copy within the store costs next to nothing. */
const SNAPSHOT_EVERY = 256;
/** A write is stored, or given up, minutes after its record; what lost its race is of no use after this. */
const LOST_AFTER_MS = 86_400_000;
/** Records and snapshots that two newer snapshots cover stay so long, for whoever wants to see what happened. */
const COVERED_FOR_MS = 30 * LOST_AFTER_MS;

export type JournalKeeperDeps = { readonly bucket: Bucket; readonly clock: Clock };

/** One round for one room. Leaves everything alone when the document does not say which write it is of. */
export async function keepJournal(deps: JournalKeeperDeps, room: RoomId): Promise<void> {
  const { bucket } = deps;
  const { records, snapshots } = await listRemains(bucket, room);
  if (records.length === 0) return;
  const head = await bucket.head(registryKey(room));
  const revision = Number(head?.metadata["revision"]);
  if (head?.writeId === undefined || !Number.isSafeInteger(revision)) return;
  const document = { revision, write: head.writeId };
  const newest = snapshots.findLast((each) => each.revision <= revision);
  if (revision - (newest?.revision ?? 0) >= SNAPSHOT_EVERY) {
    await takeSnapshot(bucket, room, document, head.etag);
  }
  const nowMs = deps.clock();
  const isOlder = (ms: number) => (each: ListedWrite) => nowMs - each.modifiedMs > ms;
  const lost = await lostRaces(bucket, records, document);
  const keys = lost.filter(isOlder(LOST_AFTER_MS)).map(({ key }) => key);
  const covered = await coveredBy(bucket, room, snapshots, document, (until) =>
    [...records, ...snapshots].filter(
      (each) => each.revision < until && isOlder(COVERED_FOR_MS)(each),
    ),
  );
  await bucket.delete([...new Set([...keys, ...covered])]);
}

async function takeSnapshot(
  bucket: Bucket,
  room: RoomId,
  document: WriteName,
  etag: string,
): Promise<void> {
  try {
    const options = { ifSourceMatch: etag };
    await bucket.copyFrom(bucket, registryKey(room), snapshotKey(room, document), options);
  } catch (error) {
    // It is being written to: the next round comes.
    if (!(error instanceof WaybillError) || error.code !== "precondition_failed") throw error;
  }
}

/** Records beside the line of writes that leads to the document. Those whose place in it cannot be told are not among them. */
async function lostRaces(
  bucket: Bucket,
  records: readonly ListedWrite[],
  document: WriteName,
): Promise<ListedWrite[]> {
  const lost = records.filter(({ revision }) => revision > document.revision);
  const byRevision = Map.groupBy(records, ({ revision }) => revision);
  for (const [revision, rivals] of byRevision) {
    if (rivals.length === 1 || revision > document.revision) continue;
    const won =
      revision === document.revision
        ? document.write
        : await parentOf(bucket, byRevision.get(revision + 1) ?? []);
    if (won === undefined || !rivals.some(({ write }) => write === won)) continue;
    lost.push(...rivals.filter(({ write }) => write !== won));
  }
  return lost;
}

/** What all records of a revision were made from, lost or not: a writer begins with what is stored. */
async function parentOf(
  bucket: Bucket,
  records: readonly ListedWrite[],
): Promise<string | undefined> {
  for (const { key } of records) {
    const record = await readRecord(bucket, key);
    if (record !== undefined) return record.parent;
  }
  return undefined;
}

/** Keys of what is older than the second newest snapshot, once both newest ones have been read. */
async function coveredBy(
  bucket: Bucket,
  room: RoomId,
  snapshots: readonly ListedWrite[],
  document: WriteName,
  older: (revision: number) => readonly ListedWrite[],
): Promise<string[]> {
  const newest = snapshots.filter(({ revision }) => revision <= document.revision).slice(-2);
  const [second] = newest;
  if (second === undefined || newest.length < 2) return [];
  const covered = older(second.revision);
  if (covered.length === 0) return [];
  for (const each of newest) {
    if ((await readSnapshot(bucket, room, each)) === undefined) return [];
  }
  return covered.map(({ key }) => key);
}

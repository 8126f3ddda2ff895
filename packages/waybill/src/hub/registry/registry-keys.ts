// Where a room's registry and what lies beside it are stored (docs/protocol/registry-storage.md).
import type { RoomId } from "@waybill/sdk/protocol";

export const registryKey = (room: RoomId) => `${room}/manifest.json`;

/** Journal, snapshots and damaged documents. */
export const remainsPrefix = (room: RoomId) => `${room}/registry/`;
export const journalPrefix = (room: RoomId) => `${remainsPrefix(room)}journal/`;
export const snapshotPrefix = (room: RoomId) => `${remainsPrefix(room)}snapshots/`;
export const damagedPrefix = (room: RoomId) => `${remainsPrefix(room)}damaged/`;

/** One write of a registry: records and snapshots are named by it. */
export type Write = { readonly revision: number; readonly write: string };

/** Enough for a write a second in 300 years; names sort by revision. */
const DIGITS = 10;

const fileOf = ({ revision, write }: Write) =>
  `${String(revision).padStart(DIGITS, "0")}-${write}.json`;
export const recordKey = (room: RoomId, write: Write) => journalPrefix(room) + fileOf(write);
export const snapshotKey = (room: RoomId, write: Write) => snapshotPrefix(room) + fileOf(write);

/** The write that a file of journal or snapshots is of. */
export function writeOf(key: string): Write | undefined {
  const [, revision, write] = /\/(\d{10,})-([\w-]+)\.json$/.exec(key) ?? [];
  if (revision === undefined || write === undefined) return undefined;
  return { revision: Number(revision), write };
}

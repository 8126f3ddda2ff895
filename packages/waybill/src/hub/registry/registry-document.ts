// How a room's registry is kept in the bucket (docs/protocol/registry-storage.md): one JSON document that is written
// whole, with a digest beside it, after a record of what the write changes. Whoever has read it once reads only the
// records of what came after.
//
//   write:  record ─▶ (snapshot of a document without a journal) ─▶ PUT If-Match
//   read:   HEAD ─▶ same etag: known │ a write or a few on: their records │ else GET, digest, format, contradictions
import { TimeSlice, blake3Hex } from "@waybill/sdk/platform";
import {
  JournalRecord,
  type Registry,
  type RoomId,
  WaybillError,
  cryptoRandom,
  randomText,
} from "@waybill/sdk/protocol";
import {
  applyRecords,
  damagedRegistry,
  decodeKept,
  decodeRegistry,
  emptyRegistry,
  encodeRegistry,
  recordOf,
  revised,
} from "@waybill/sdk/registry";
import type { Bucket, Fetched, Head } from "../bucket/bucket.ts";
import type { DocumentKind, EncodedDocument } from "../bucket/document-kind.ts";
import { recordKey, remainsPrefix, snapshotKey, writeOf } from "./registry-keys.ts";

/** Records read one after the other rather than the whole document: a GET of each costs about a millisecond. */
const MAX_RECORDS = 64;
/** Names a write: 16 characters, so that none is ever met twice. */
const WRITE_CHARACTERS = 16;

/** A name for the next write. */
export const newWrite = () => randomText(WRITE_CHARACTERS, cryptoRandom);

const roomOf = (key: string) => key.slice(0, key.indexOf("/")) as RoomId;

/** The kind of `{room}/manifest.json`. */
export const REGISTRY_DOCUMENT: DocumentKind<Registry> = {
  decode: decodeObject,
  encode: encodeObject,

  async missing(bucket, key) {
    const room = roomOf(key);
    for await (const entry of bucket.list(remainsPrefix(room))) {
      // The first write's record comes before the first document.
      if ((writeOf(entry.key)?.revision ?? 0) < 2) continue;
      throw damagedRegistry(room, "it is gone, and what lies beside it says that there was one");
    }
  },

  async prepare(bucket, key, before, next) {
    const room = roomOf(key);
    const at = new Date().toISOString();
    const record = recordOf(before ?? emptyRegistry(room), next, at);
    const contentType = "application/json";
    await bucket.put(recordKey(room, record), JSON.stringify(record), { contentType });
    // What was there before the journal began is told by no record.
    if (before === undefined || before.write !== "") return;
    const { body, ...facts } = encodeObject(next);
    await bucket.put(snapshotKey(room, next), body, { contentType, ...facts });
  },

  async refused(bucket, key, next, reason) {
    // A record of what was refused would be taken for the newest write when the registry is made again.
    if (!(reason instanceof WaybillError) || reason.code !== "registry_damaged") return;
    await bucket.delete([recordKey(roomOf(key), next)]);
  },

  advance: (bucket, key, known, head) => advance(bucket, roomOf(key), known, head),
};

/** The registry that an object holds; throws `registry_damaged`, `unsupported_version`. */
export async function decodeObject(key: string, object: Fetched): Promise<Registry> {
  const room = roomOf(key);
  const { digest } = object.metadata;
  if (digest !== undefined && blake3Hex(object.body) !== digest) {
    throw damagedRegistry(room, "its bytes are not those that were written");
  }
  const slice = new TimeSlice();
  const text = new TextDecoder().decode(object.body);
  const registry = await decodeRegistry(text, room, () => slice.pause());
  // Copying an object keeps what is stored beside its bytes; writing it by other means does not.
  if (digest === undefined && registry.write !== "") {
    throw damagedRegistry(room, "it was written by something other than a hub");
  }
  return registry;
}

export function encodeObject(registry: Registry): EncodedDocument {
  const body = encodeRegistry(registry);
  const { revision, write } = registry;
  return {
    body,
    metadata: { digest: blake3Hex(body), revision: String(revision) },
    writeId: write,
  };
}

/** `registry` under the name of a new write. */
export const asNewWrite = (registry: Registry) => revised(registry, newWrite());

async function advance(
  bucket: Bucket,
  room: RoomId,
  known: Registry,
  { writeId, metadata }: Head,
): Promise<Registry | undefined> {
  const revision = Number(metadata["revision"]);
  const behind = revision - known.revision;
  if (writeId === undefined || !(behind > 0 && behind <= MAX_RECORDS)) return undefined;
  const records: JournalRecord[] = [];
  let write = { revision, write: writeId };
  while (write.revision > known.revision) {
    const record = await readRecord(bucket, recordKey(room, write));
    if (record === undefined) return undefined;
    records.unshift(record);
    write = { revision: write.revision - 1, write: record.parent };
  }
  // Another line of writes, after a rebuild.
  if (write.write !== known.write || write.revision !== known.revision) return undefined;
  try {
    return applyRecords(known, records);
  } catch (error) {
    if (error instanceof WaybillError && error.code === "invalid_request") return undefined;
    throw error;
  }
}

/** A record of the journal; `undefined` when there is none, or it is none that this version understands. */
export async function readRecord(bucket: Bucket, key: string): Promise<JournalRecord | undefined> {
  const object = await bucket.get(key);
  if (object === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(object.body));
    const record = decodeKept(JournalRecord, value, key);
    const named = writeOf(key);
    return named?.revision === record.revision && named.write === record.write ? record : undefined;
  } catch (error) {
    const unread = error instanceof SyntaxError || error instanceof WaybillError;
    if (unread) return undefined;
    throw error;
  }
}

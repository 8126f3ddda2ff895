// The hub's view of room documents: every request asks for its room's, so answers may be a few seconds old
// and concurrent questions share one read.
import { type RoomId, WaybillError } from "@waybill/sdk/protocol";
import type { Documents } from "../bucket/documents.ts";
import { RoomDoc, isJustCreated, newRoom, roomKey } from "./room-doc.ts";

/** How long another hub's change (a revoked key) may stay unseen here. */
const ROOM_MAX_AGE_MS = 5000;

export class RoomDirectory {
  readonly #documents: Documents;
  readonly #reading = new Map<RoomId, Promise<RoomDoc | undefined>>();

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /**
   * Throws `conflict` when the room exists, unless it was created with the same nonce within the last 10 minutes:
   * then the answer to that was lost.
   */
  async create(room: RoomId, createdBy: string, nowMs: number, nonce?: string): Promise<RoomDoc> {
    const doc = newRoom(room, createdBy, nowMs, nonce);
    try {
      return (await this.#documents.create(RoomDoc, roomKey(room), doc)).doc;
    } catch (cause) {
      if (!(cause instanceof WaybillError) || cause.code !== "conflict") throw cause;
      const found = (await this.#documents.read(RoomDoc, roomKey(room)))?.doc;
      if (nonce !== undefined && found !== undefined && isJustCreated(found, nonce, nowMs)) {
        return found;
      }
      throw new WaybillError("conflict", `room ${room} exists already`, {
        cause,
        hint: "choose another name, or ask its owner for an invite",
      });
    }
  }

  /** The room as of at most `ROOM_MAX_AGE_MS` ago; throws `not_found`. */
  async get(room: RoomId): Promise<RoomDoc> {
    let reading = this.#reading.get(room);
    if (reading === undefined) {
      reading = this.#read(room).finally(() => this.#reading.delete(room));
      this.#reading.set(room, reading);
    }
    const doc = await reading;
    if (doc === undefined) throw missing(room);
    return doc;
  }

  /** Edits the room's document; throws `not_found`, or what `edit` throws. */
  async update(room: RoomId, edit: (doc: RoomDoc) => RoomDoc | undefined): Promise<RoomDoc> {
    const updated = await this.#documents.update(RoomDoc, roomKey(room), (doc) => {
      if (doc === undefined) throw missing(room);
      return edit(doc);
    });
    if (updated === undefined) throw missing(room);
    return updated.doc;
  }

  /** Names of all rooms. */
  async *list(): AsyncIterable<RoomId> {
    for await (const folder of this.#documents.bucket.listFolders("")) {
      // Folders that start with `_` are the hub's own; a room's name cannot.
      if (!folder.startsWith("_")) yield folder as RoomId;
    }
  }

  async #read(room: RoomId): Promise<RoomDoc | undefined> {
    const maxAgeMs = ROOM_MAX_AGE_MS;
    return (await this.#documents.read(RoomDoc, roomKey(room), { maxAgeMs }))?.doc;
  }
}

function missing(room: RoomId): WaybillError {
  return new WaybillError("not_found", `there is no room ${room} on this hub`, {
    hint: `create it with \`waybill room create ${room}\``,
  });
}

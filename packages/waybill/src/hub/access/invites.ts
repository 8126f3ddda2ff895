// Invite codes: 40 random bits, ten minutes, one use. The bucket holds the code's hash only, and its single
// use is decided there, so two hubs cannot both honour one code.
import {
  InviteRole,
  LIMITS,
  PublicKey,
  RoomId,
  Timestamp,
  WaybillError,
  cryptoRandom,
  randomText,
} from "@waybill/sdk/protocol";
import { createHash } from "node:crypto";
import * as v from "valibot";
import type { Documents } from "../bucket/documents.ts";
import type { Clock } from "../log.ts";

const InviteDoc = v.object({
  room: RoomId,
  role: InviteRole,
  createdAt: Timestamp,
  createdBy: v.string(),
  expiresAt: Timestamp,
  used: v.optional(v.object({ publicKey: PublicKey, name: v.string(), at: Timestamp })),
});
export type InviteDoc = v.InferOutput<typeof InviteDoc>;

const PREFIX = "_invites/";
/** Kept after expiry so that a late guest is told "expired" rather than "unknown". */
const KEEP_MS = 24 * 3_600_000;

export class Invites {
  readonly #documents: Documents;
  readonly #clock: Clock;

  constructor(init: { readonly documents: Documents; readonly clock: Clock }) {
    this.#documents = init.documents;
    this.#clock = init.clock;
  }

  /** A fresh code, `ABCD-2345`, and when it expires. */
  async create(
    room: RoomId,
    role: InviteRole,
    createdBy: string,
  ): Promise<{ code: string; expiresAt: string }> {
    const nowMs = this.#clock();
    const code = randomText(8, cryptoRandom).toUpperCase();
    const expiresAt = new Date(nowMs + LIMITS.inviteMs).toISOString();
    await this.#documents.create(InviteDoc, keyOf(code), {
      room,
      role,
      createdAt: new Date(nowMs).toISOString(),
      createdBy,
      expiresAt,
    });
    return { code: `${code.slice(0, 4)}-${code.slice(4)}`, expiresAt };
  }

  /**
   * Uses a code up. The same key may ask again within the code's time, because an answer may be lost.
   * Throws `not_found` for a code that was never given, `expired` for one that is old or used.
   */
  async redeem(code: string, publicKey: string, name: string): Promise<InviteDoc> {
    const nowMs = this.#clock();
    const updated = await this.#documents.update(InviteDoc, keyOf(code), (invite) => {
      if (invite === undefined) return undefined;
      if (Date.parse(invite.expiresAt) <= nowMs) {
        throw new WaybillError("expired", "the invite code has expired", {
          hint: "ask the room's owner for a new one: `waybill room invite`",
        });
      }
      if (invite.used?.publicKey === publicKey) return undefined;
      if (invite.used !== undefined) {
        throw new WaybillError("expired", "the invite code has been used already", {
          hint: "each code admits one key; ask the room's owner for a new one",
        });
      }
      return { ...invite, used: { publicKey, name, at: new Date(nowMs).toISOString() } };
    });
    if (updated !== undefined) return updated.doc;
    throw new WaybillError("not_found", "there is no such invite code on this hub", {
      hint: "check the code and the hub's address",
    });
  }

  /** Deletes what expired more than a day ago; answers how many. */
  async sweep(): Promise<number> {
    const before = this.#clock() - KEEP_MS - LIMITS.inviteMs;
    const old: string[] = [];
    for await (const entry of this.#documents.bucket.list(PREFIX)) {
      if (entry.modifiedMs < before) old.push(entry.key);
    }
    if (old.length > 0) await this.#documents.bucket.delete(old);
    for (const key of old) this.#documents.forget(key);
    return old.length;
  }
}

function keyOf(code: string): string {
  return `${PREFIX}${createHash("sha256").update(code).digest("hex")}.json`;
}

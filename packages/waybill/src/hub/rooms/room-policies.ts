// What a room's owner may decide about its peers' connections, and what holds where the owner said nothing.
// A change is told to every peer of the room; a peer that is being welcomed meanwhile gets the newer one.
import { ByteCount, IcePolicy, type RoomId, type RouteOutput } from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { RoomDirectory } from "./room-directory.ts";
import type { RoomDoc } from "./room-doc.ts";

/** As kept in `room.json`; what this hub cannot read counts as not set. */
const Stored = v.object({
  icePolicy: v.fallback(v.optional(IcePolicy), undefined),
  relayBudgetBytes: v.fallback(v.optional(ByteCount), undefined),
});

/** Absent `relayBudgetBytes`: no bound. */
export type RoomPolicy = RouteOutput<"setRoomPolicy">;

export type PolicyChange = {
  readonly icePolicy?: IcePolicy | undefined;
  /** `null`: what the hub's operator set. */
  readonly relayBudgetBytes?: number | null | undefined;
};

export type RoomPoliciesInit = {
  readonly rooms: RoomDirectory;
  /** What holds where a room's owner said nothing. */
  readonly defaults: RoomPolicy;
  /** A policy was written; called before anybody is welcomed under it. */
  readonly onChanged: (room: RoomId, policy: RoomPolicy) => void;
};

export class RoomPolicies {
  readonly #init: RoomPoliciesInit;
  #changes = 0;

  constructor(init: RoomPoliciesInit) {
    this.#init = init;
  }

  /** Of another hub's change this one may be `ROOM_MAX_AGE_MS` late. Throws `not_found`. */
  async of(room: RoomId): Promise<RoomPolicy> {
    for (;;) {
      const before = this.#changes;
      const doc = await this.#init.rooms.get(room);
      // Read while another was being written: it may be the older one.
      if (before === this.#changes) return this.#effective(doc);
    }
  }

  async set(room: RoomId, change: PolicyChange): Promise<RoomPolicy> {
    const written = await this.#init.rooms.update(room, (doc) => {
      const policy = changed(doc.policy, change);
      return JSON.stringify(policy) === JSON.stringify(doc.policy) ? undefined : { ...doc, policy };
    });
    this.#changes += 1;
    const policy = this.#effective(written);
    this.#init.onChanged(room, policy);
    return policy;
  }

  #effective(doc: RoomDoc): RoomPolicy {
    const { defaults } = this.#init;
    const stored = v.parse(Stored, doc.policy);
    const budget = stored.relayBudgetBytes ?? defaults.relayBudgetBytes;
    return {
      icePolicy: stored.icePolicy ?? defaults.icePolicy,
      ...(budget === undefined ? {} : { relayBudgetBytes: budget }),
    };
  }
}

function changed(policy: RoomDoc["policy"], change: PolicyChange): RoomDoc["policy"] {
  const { relayBudgetBytes: before, ...rest } = policy;
  const { icePolicy, relayBudgetBytes: after = before } = change;
  return {
    ...rest,
    ...(icePolicy === undefined ? {} : { icePolicy }),
    ...(after === undefined || after === null ? {} : { relayBudgetBytes: after }),
  };
}

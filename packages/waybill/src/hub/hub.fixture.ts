// A hub without sockets or disk for unit tests: all areas over a store in memory, called through the typed
// client. Two of them on one storage are two hubs of one bucket.
import {
  HubClient,
  generateIdentityKey,
  loadIdentity,
  type Identity,
} from "@waybill/sdk/hub-client";
import type { IceServer, RoomId, Role } from "@waybill/sdk/protocol";
import { type Areas, createAreas } from "./areas.ts";
import { IceServers, type TurnInit } from "./ice/ice-servers.ts";
import { type Log, silentLog } from "./log.ts";
import type { RoomPolicy } from "./rooms/room-policies.ts";
import { MemoryStorage } from "./storage/memory-storage.ts";

export const TEST_SECRET = new TextEncoder().encode("a secret that is long enough for tests");

export type TestHubInit = {
  readonly storage?: MemoryStorage;
  readonly clock?: () => number;
  readonly log?: Log;
  readonly adminToken?: string;
  readonly iceServers?: readonly IceServer[];
  readonly turn?: TurnInit;
  readonly policy?: RoomPolicy;
  readonly roomIdleMs?: number;
  readonly uploadTtlMs?: number;
  readonly presignSeconds?: number;
};

export type Member = {
  readonly client: HubClient;
  readonly identity: Identity;
  readonly token: string;
};

export class TestHub {
  readonly storage: MemoryStorage;
  readonly areas: Areas;
  readonly #clock: () => number;

  constructor(init: TestHubInit = {}) {
    const clock = init.clock ?? Date.now;
    this.#clock = clock;
    this.storage = init.storage ?? new MemoryStorage({ clock });
    this.areas = createAreas({
      storage: this.storage,
      secret: TEST_SECRET,
      adminToken: init.adminToken,
      iceServers: new IceServers({
        servers: () => init.iceServers ?? [],
        turn: init.turn,
        clock,
      }),
      policy: init.policy ?? { icePolicy: "all" },
      roomIdleMs: init.roomIdleMs ?? 7_200_000,
      uploadTtlMs: init.uploadTtlMs ?? 86_400_000,
      presignSeconds: init.presignSeconds ?? 3600,
      sweepEveryMs: 3_600_000,
      trustProxy: false,
      log: init.log ?? silentLog,
      clock,
    });
  }

  /** A client without rights. */
  get anyone(): HubClient {
    return new HubClient({ url: "http://hub.test", retryForMs: 0, fetch: this.fetch });
  }

  readonly fetch: typeof globalThis.fetch = async (input, init) =>
    this.areas.app.request(input instanceof URL ? input.href : input, init);

  /** The owner of a new room. */
  async createRoom(name: string): Promise<Member & { readonly room: RoomId }> {
    const { room, token } = await this.anyone.call("createRoom", { body: { name } });
    return { room, ...(await this.member(token)) };
  }

  /** Somebody who has joined by invite of the owner. */
  async join(owner: HubClient, room: RoomId, role: Exclude<Role, "owner">): Promise<Member> {
    const { code } = await owner.call("createInvite", { params: { room }, body: { role } });
    const identity = await newIdentity();
    const { token } = await this.anyone.call("join", {
      body: { code, publicKey: identity.publicKey, name: `a ${role}` },
    });
    return this.member(token, identity);
  }

  async member(token: string, given?: Identity): Promise<Member> {
    const identity = given ?? (await newIdentity());
    // Proofs by the hub's clock.
    const proof: Identity["proof"] = (request) =>
      identity.proof({ nowMs: this.#clock(), ...request });
    const credential = { token, identity: { ...identity, proof } };
    const client = new HubClient({
      url: "http://hub.test",
      retryForMs: 0,
      fetch: this.fetch,
      credential,
    });
    return { client, identity, token };
  }
}

export async function newIdentity(): Promise<Identity> {
  return loadIdentity(await generateIdentityKey());
}

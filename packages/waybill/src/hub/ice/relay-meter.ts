// Meters what rooms relay through TURN servers, and says when a room's budget of the day is used up. Counting is in
// memory; documents are written every few seconds while something changes, so a crash forgets seconds of it, and
// nothing that a connection which lives on reports again.
import {
  type HubToPeer,
  type PeerId,
  type PeerToHub,
  type RelayBudget,
  type RoomId,
  type RouteOutput,
  messageOf,
} from "@waybill/sdk/protocol";
import type { Documents } from "../bucket/documents.ts";
import type { Clock, Log } from "../log.ts";
import type { RoomPolicies, RoomPolicy } from "../rooms/room-policies.ts";
import {
  RelayUsage,
  UsageDoc,
  type UsagePart,
  type UsageReport,
  peerSums,
  usedBytesOf,
} from "./relay-usage.ts";

export type RelayMeterDeps = {
  readonly documents: Documents;
  readonly policies: Pick<RoomPolicies, "of">;
  /** Tells this process's part of the documents from other hubs'; new at every start. */
  readonly hub: string;
  readonly isHere: (room: RoomId, peer: PeerId) => boolean;
  readonly hasPeers: (room: RoomId) => boolean;
  readonly broadcast: (room: RoomId, message: HubToPeer) => void;
  readonly clock: Clock;
  readonly log: Log;
};

type Reporter = { readonly room: RoomId; readonly peerId: PeerId; readonly name: string };
type Report = Extract<PeerToHub, { type: "relay.usage" }>;

/** How long counts are in memory only. */
const WRITE_EVERY_MS = 10_000;
/** Connections that report while a room's documents are being read; the next report of one left out says it again. */
const MAX_WAITING = 1024;
const DAY_MS = 86_400_000;

type Room = {
  readonly usage: RelayUsage;
  /** What peers said while the documents were being read. */
  readonly waiting: Map<string, UsageReport>;
  /** Parts that are not written yet, by day. */
  readonly unwritten: Map<string, UsagePart>;
  isLoaded: boolean;
  isChanged: boolean;
  budgetBytes: number | undefined;
  /** Whether the room's peers were told that the budget is used up. */
  isToldExhausted: boolean;
};

export class RelayMeter {
  readonly #deps: RelayMeterDeps;
  readonly #rooms = new Map<RoomId, Room>();
  readonly #loading = new Map<RoomId, Promise<Room>>();
  #timer: NodeJS.Timeout | undefined;
  #ticking: Promise<void> = Promise.resolve();

  constructor(deps: RelayMeterDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#timer ??= setInterval(() => void this.tick(), WRITE_EVERY_MS);
  }

  /** Writes what is only in memory. Idempotent. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.allSettled(this.#loading.values());
    await this.tick();
  }

  /** What a peer says one of its connections has moved; never throws. */
  report({ room: name, peerId, name: label }: Reporter, message: Report): void {
    const { connection, sentBytes, receivedBytes } = message;
    const counters = { sent: sentBytes, received: receivedBytes };
    const report: UsageReport = { peerId, name: label, connection, ...counters };
    const room = this.#rooms.get(name);
    if (room?.isLoaded === true) {
      this.#count(name, room, report);
      return;
    }
    void this.#open(name).catch((error: unknown) => this.#failed("read", name, error));
    const waiting = this.#rooms.get(name)?.waiting;
    const key = `${peerId} ${connection}`;
    if (waiting !== undefined && (waiting.size < MAX_WAITING || waiting.has(key))) {
      waiting.set(key, report);
    }
  }

  /** Today's, or `undefined` where the room has no budget. Throws `storage_failed`. */
  async budgetOf(name: RoomId): Promise<RelayBudget | undefined> {
    const { relayBudgetBytes } = await this.#deps.policies.of(name);
    if (relayBudgetBytes === undefined) return undefined;
    const room = await this.#open(name);
    this.#turnDay(name, room);
    return budgetOf(room);
  }

  /** One day's bytes per peer; today's when none is named. Throws `storage_failed`. */
  async usage(name: RoomId, day?: string): Promise<RouteOutput<"relayUsage">> {
    const room = await this.#open(name);
    this.#turnDay(name, room);
    if (day === undefined || day === room.usage.day) {
      return { budget: budgetOf(room), peers: room.usage.byPeer() };
    }
    const doc = (await this.#read(name, day)) ?? { parts: {} };
    const unwritten = room.unwritten.get(day);
    const parts =
      unwritten === undefined ? doc.parts : { ...doc.parts, [this.#deps.hub]: unwritten };
    const budget = toBudget(day, usedBytesOf({ parts }), room.budgetBytes);
    return { budget, peers: peerSums(Object.values(parts)) };
  }

  /** The room's budget is another one. */
  onPolicy(name: RoomId, { relayBudgetBytes }: RoomPolicy): void {
    const room = this.#rooms.get(name);
    if (room?.isLoaded === true) {
      room.budgetBytes = relayBudgetBytes;
      this.#tell(name, room);
    } else if (relayBudgetBytes !== undefined && this.#deps.hasPeers(name)) {
      void this.#open(name).catch((error: unknown) => this.#failed("read", name, error));
    }
  }

  /** Writes what has changed, begins the next day, forgets rooms that nobody is in. Never throws. */
  tick(): Promise<void> {
    this.#ticking = this.#ticking.then(() => this.#tickAll());
    return this.#ticking;
  }

  async #tickAll(): Promise<void> {
    for (const [name, room] of this.#rooms) {
      if (!room.isLoaded) continue;
      this.#turnDay(name, room);
      try {
        await this.#write(name, room);
      } catch (error) {
        this.#failed("write", name, error);
        continue;
      }
      const isIdle = !room.isChanged && room.unwritten.size === 0 && !this.#deps.hasPeers(name);
      if (isIdle) this.#rooms.delete(name);
    }
  }

  #count(name: RoomId, room: Room, report: UsageReport): void {
    this.#turnDay(name, room);
    if (!room.usage.count(report)) return;
    room.isChanged = true;
    this.#tell(name, room);
  }

  /** Tells the room once when its budget is used up, and once when it has one again. */
  #tell(name: RoomId, room: Room): void {
    const budget = budgetOf(room);
    if (budget.exhausted === room.isToldExhausted) return;
    room.isToldExhausted = budget.exhausted;
    this.#deps.broadcast(name, { type: "relay.budget", budget });
    if (!budget.exhausted) return;
    const { usedBytes, budgetBytes, day } = budget;
    this.#deps.log("warn", "the room has used up its budget of relayed bytes", {
      room: name,
      day,
      usedBytes,
      budgetBytes,
    });
  }

  #turnDay(name: RoomId, room: Room): void {
    const today = dayOf(this.#deps.clock());
    if (room.usage.day >= today) return;
    this.#setAside(room);
    room.usage.roll(today, (peer) => this.#deps.isHere(name, peer));
    this.#tell(name, room);
  }

  #setAside(room: Room): void {
    if (room.isChanged) room.unwritten.set(room.usage.day, room.usage.part());
    room.isChanged = false;
  }

  async #write(name: RoomId, room: Room): Promise<void> {
    this.#setAside(room);
    if (room.unwritten.size === 0) return;
    for (const [day, part] of room.unwritten) {
      const written = await this.#deps.documents.update(UsageDoc, keyOf(name, day), (doc) => ({
        parts: { ...doc?.parts, [this.#deps.hub]: part },
      }));
      if (room.unwritten.get(day) === part) room.unwritten.delete(day);
      if (written !== undefined) room.usage.adopt(written.doc, day);
    }
    room.budgetBytes = (await this.#deps.policies.of(name)).relayBudgetBytes;
    this.#tell(name, room);
  }

  /** The room's account, read from its documents when it is not in memory. */
  #open(name: RoomId): Promise<Room> {
    const room = this.#rooms.get(name);
    if (room?.isLoaded === true) return Promise.resolve(room);
    let loading = this.#loading.get(name);
    if (loading === undefined) {
      loading = this.#load(name).finally(() => this.#loading.delete(name));
      this.#loading.set(name, loading);
    }
    return loading;
  }

  async #load(name: RoomId): Promise<Room> {
    const nowMs = this.#deps.clock();
    const [today, yesterday] = [dayOf(nowMs), dayOf(nowMs - DAY_MS)];
    const room: Room = {
      usage: new RelayUsage(this.#deps.hub, today),
      waiting: new Map(),
      unwritten: new Map(),
      isLoaded: false,
      isChanged: false,
      budgetBytes: undefined,
      isToldExhausted: false,
    };
    this.#rooms.set(name, room);
    try {
      for (const day of [yesterday, today]) {
        const doc = await this.#read(name, day);
        if (doc !== undefined) room.usage.adopt(doc, day);
      }
      room.budgetBytes = (await this.#deps.policies.of(name)).relayBudgetBytes;
    } catch (error) {
      this.#rooms.delete(name);
      throw error;
    }
    room.isLoaded = true;
    this.#tell(name, room);
    for (const report of room.waiting.values()) this.#count(name, room, report);
    room.waiting.clear();
    return room;
  }

  async #read(name: RoomId, day: string): Promise<UsageDoc | undefined> {
    return (await this.#deps.documents.read(UsageDoc, keyOf(name, day)))?.doc;
  }

  #failed(what: "read" | "write", room: RoomId, error: unknown): void {
    const text = `could not ${what} relayed bytes; it is tried again`;
    this.#deps.log("warn", text, { room, reason: messageOf(error) });
  }
}

function budgetOf({ usage, budgetBytes }: Room): RelayBudget {
  return toBudget(usage.day, usage.usedBytes, budgetBytes);
}

function toBudget(day: string, usedBytes: number, budgetBytes: number | undefined): RelayBudget {
  if (budgetBytes === undefined) return { day, usedBytes, exhausted: false };
  return { day, usedBytes, budgetBytes, exhausted: usedBytes >= budgetBytes };
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function keyOf(room: RoomId, day: string): string {
  return `${room}/relay-usage/${day}.json`;
}

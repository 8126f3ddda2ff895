// Bytes that one room's peers have moved through TURN servers on one day (UTC), as they count them themselves. Every
// hub of a bucket keeps its own part of the day's document, so that parts add up whoever writes last.
//
//   {room}/relay-usage/{day}.json   { parts: { hub: { peers: { peer: sums, and its connections' last counters } } } }
import { ByteCount, Label, PeerId, type RouteOutput } from "@waybill/sdk/protocol";
import * as v from "valibot";

const Counters = v.object({ sent: ByteCount, received: ByteCount });
export type Counters = v.InferOutput<typeof Counters>;

const PeerUsage = v.object({
  name: Label,
  ...Counters.entries,
  /** What each connection reported last: it goes on from there at another hub, or after a restart. */
  connections: v.record(v.string(), Counters),
});

export const UsageDoc = v.object({
  parts: v.record(v.string(), v.object({ peers: v.record(PeerId, PeerUsage) })),
});
export type UsageDoc = v.InferOutput<typeof UsageDoc>;
export type UsagePart = UsageDoc["parts"][string];

export type UsageReport = Counters & {
  readonly peerId: PeerId;
  readonly name: string;
  readonly connection: string;
};

/** Processes of a room that relay on one day; a lab has tens. Those above are not counted. */
const MAX_PEERS = 1024;
/** Connections of one peer that are remembered: up to 17 to each of the peers it talks to, replaced now and then. */
const MAX_CONNECTIONS = 2048;

/** One hub's account of one room. */
export class RelayUsage {
  readonly #hub: string;
  #day: string;
  #peers = new Map<PeerId, Counters & { readonly name: string }>();
  /** What each connection reported last, the most recent at the end. */
  #last = new Map<PeerId, Map<string, Counters>>();
  #others: UsagePart[] = [];

  constructor(hub: string, day: string) {
    this.#hub = hub;
    this.#day = day;
  }

  get day(): string {
    return this.#day;
  }

  /** A relayed byte is sent by one peer and received by another: the greater sum counts each once. */
  get usedBytes(): number {
    return greater([...this.#peers.values(), ...this.#others.flatMap(usagesOf)]);
  }

  /** Takes what other hubs have written, and where connections were left (a day's, or the day before's). */
  adopt({ parts }: UsageDoc, day: string): void {
    if (day === this.#day) {
      const others = Object.entries(parts).filter(([hub]) => hub !== this.#hub);
      this.#others = others.map(([, part]) => part);
      // Written by this process before it forgot the room.
      if (this.#peers.size === 0) this.#resume(parts[this.#hub]);
    }
    for (const part of Object.values(parts)) {
      for (const [peer, { connections }] of Object.entries(part.peers)) {
        for (const [connection, counters] of Object.entries(connections)) {
          this.#remember(peer as PeerId, connection, counters);
        }
      }
    }
  }

  /** Counts what a connection has moved since it was heard of last; answers whether that is anything. */
  count({ peerId, name, connection, sent, received }: UsageReport): boolean {
    const known = this.#peers.get(peerId);
    if (known === undefined && this.#peers.size >= MAX_PEERS) return false;
    const last = this.#startOf(peerId, connection) ?? { sent, received };
    const grown = {
      sent: Math.max(0, sent - last.sent),
      received: Math.max(0, received - last.received),
    };
    this.#remember(peerId, connection, { sent, received });
    if (grown.sent === 0 && grown.received === 0) return false;
    this.#peers.set(peerId, { name, ...plus(known ?? ZERO, grown) });
    return true;
  }

  /** Begins a day. Connections go on from where they were, of the peers that are here. */
  roll(day: string, isHere: (peer: PeerId) => boolean): void {
    this.#day = day;
    this.#peers = new Map();
    this.#others = [];
    for (const peer of this.#last.keys()) if (!isHere(peer)) this.#last.delete(peer);
  }

  /** This hub's part of the day's document. */
  part(): UsagePart {
    const peers: UsagePart["peers"] = {};
    for (const [peer, usage] of this.#peers) {
      peers[peer] = { ...usage, connections: Object.fromEntries(this.#last.get(peer) ?? []) };
    }
    return { peers };
  }

  /** Per peer, over all hubs; who moved most comes first. */
  byPeer(): PeerSums {
    return peerSums([...this.#others, this.part()]);
  }

  /**
   * Where to count a connection from: what it reported last, nothing for a new one. Undefined for one that may have been
   * forgotten, or will not be remembered: its counters, which are cumulative, must not count a second time.
   */
  #startOf(peer: PeerId, connection: string): Counters | undefined {
    const connections = this.#last.get(peer);
    if (connections === undefined) return this.#last.size < MAX_PEERS ? ZERO : undefined;
    const known = connections.get(connection);
    return known ?? (connections.size < MAX_CONNECTIONS ? ZERO : undefined);
  }

  #resume(own: UsagePart | undefined): void {
    for (const [peer, { name, sent, received }] of Object.entries(own?.peers ?? {})) {
      this.#peers.set(peer as PeerId, { name, sent, received });
    }
  }

  #remember(peer: PeerId, connection: string, { sent, received }: Counters): void {
    let connections = this.#last.get(peer);
    if (connections === undefined) {
      if (this.#last.size >= MAX_PEERS) return;
      this.#last.set(peer, (connections = new Map<string, Counters>()));
    }
    const before = connections.get(connection) ?? ZERO;
    connections.delete(connection);
    connections.set(connection, {
      sent: Math.max(before.sent, sent),
      received: Math.max(before.received, received),
    });
    const oldest = connections.keys().next();
    if (connections.size > MAX_CONNECTIONS && oldest.done !== true) {
      connections.delete(oldest.value);
    }
  }
}

export type PeerSums = RouteOutput<"relayUsage">["peers"];

/** Adds parts up, per peer. */
export function peerSums(parts: readonly UsagePart[]): PeerSums {
  const sums = new Map<PeerId, Counters & { readonly name: string }>();
  for (const { peers } of parts) {
    for (const [key, usage] of Object.entries(peers)) {
      const peer = key as PeerId;
      sums.set(peer, { name: usage.name, ...plus(sums.get(peer) ?? ZERO, usage) });
    }
  }
  return Array.from(sums, ([peerId, { name, sent, received }]) => ({
    peerId,
    name,
    sentBytes: sent,
    receivedBytes: received,
  })).sort((a, b) => b.sentBytes + b.receivedBytes - a.sentBytes - a.receivedBytes);
}

/** As `RelayUsage.usedBytes`, of a whole document. */
export function usedBytesOf({ parts }: UsageDoc): number {
  return greater(Object.values(parts).flatMap(usagesOf));
}

function usagesOf({ peers }: UsagePart): Counters[] {
  return Object.values(peers);
}

function greater(usages: readonly Counters[]): number {
  const { sent, received } = usages.reduce<Counters>(plus, ZERO);
  return Math.max(sent, received);
}

const ZERO: Counters = { sent: 0, received: 0 };

/** What peers claim has no other bound than that sums stay numbers. */
function plus(a: Counters, b: Counters): Counters {
  const most = Number.MAX_SAFE_INTEGER;
  return {
    sent: Math.min(most, a.sent + b.sent),
    received: Math.min(most, a.received + b.received),
  };
}

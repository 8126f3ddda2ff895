// Who is present and how a message reaches them. One hub uses `LocalRouter`; hubs that share presence put
// another implementation here, and nothing else changes.
import type {
  ArtifactId,
  HubToPeer,
  PeerId,
  PeerInfo,
  RoomId,
  Serving,
  Timestamp,
  WorkerCapabilities,
} from "@waybill/sdk/protocol";
import type { Caller } from "../http/handler.ts";

/** A peer with an accepted socket. */
export type ConnectedPeer = {
  readonly room: RoomId;
  readonly info: PeerInfo;
  readonly caller: Caller;
  /** Address its connection came from. */
  readonly remote: string;
  /** How it serves artifacts to members; tokens in it are for `showHolders` alone (I10). */
  readonly serves?: Serving;
  /** Present when it offers itself as a worker. */
  readonly worker?: {
    readonly capabilities: WorkerCapabilities;
    readonly connectedAt: Timestamp;
    /** Artifacts it said last it has, most recently used first. */
    cached?: readonly ArtifactId[];
  };
};

/** `busy`: too much waits for the receiver already; the message is lost. */
export type Delivery = "delivered" | "absent" | "busy";

/** Relayed messages yield to the hub's own: they are refused at a lower mark. */
export type Priority = "relayed" | "hub";

/** The sending half of one accepted socket. */
export interface Connection {
  readonly peer: ConnectedPeer;
  send(text: string, priority: Priority): Exclude<Delivery, "absent">;
  close(code: number, reason: string): void;
}

/** Presence and routing of every room. */
export interface Router {
  /** Adds a peer; answers the connection of the same peer id that it replaces. */
  join(connection: Connection): Connection | undefined;
  /** Removes it; answers whether the peer is gone now (`false` when another connection had replaced it). */
  leave(connection: Connection): boolean;
  peers(room: RoomId): readonly ConnectedPeer[];
  find(room: RoomId, peerId: PeerId): ConnectedPeer | undefined;
  /** Rooms with at least one peer. */
  rooms(): readonly RoomId[];
  deliver(room: RoomId, to: PeerId, message: HubToPeer, priority: Priority): Delivery;
  broadcast(room: RoomId, message: HubToPeer, except?: PeerId): void;
  /** Closes every connection that `match` names. */
  disconnect(match: (peer: ConnectedPeer) => boolean, code: number, reason: string): void;
}

/** Presence and routing inside one process. */
export class LocalRouter implements Router {
  readonly #rooms = new Map<RoomId, Map<PeerId, Connection>>();

  join(connection: Connection): Connection | undefined {
    const { room, info } = connection.peer;
    let peers = this.#rooms.get(room);
    if (peers === undefined) this.#rooms.set(room, (peers = new Map()));
    const replaced = peers.get(info.peerId);
    peers.set(info.peerId, connection);
    return replaced;
  }

  leave(connection: Connection): boolean {
    const { room, info } = connection.peer;
    const peers = this.#rooms.get(room);
    if (peers?.get(info.peerId) !== connection) return false;
    peers.delete(info.peerId);
    if (peers.size === 0) this.#rooms.delete(room);
    return true;
  }

  peers(room: RoomId): readonly ConnectedPeer[] {
    return Array.from(this.#rooms.get(room)?.values() ?? [], ({ peer }) => peer);
  }

  find(room: RoomId, peerId: PeerId): ConnectedPeer | undefined {
    return this.#rooms.get(room)?.get(peerId)?.peer;
  }

  rooms(): readonly RoomId[] {
    return [...this.#rooms.keys()];
  }

  deliver(room: RoomId, to: PeerId, message: HubToPeer, priority: Priority): Delivery {
    const connection = this.#rooms.get(room)?.get(to);
    return connection === undefined ? "absent" : connection.send(JSON.stringify(message), priority);
  }

  broadcast(room: RoomId, message: HubToPeer, except?: PeerId): void {
    const text = JSON.stringify(message);
    for (const [peerId, connection] of this.#rooms.get(room) ?? []) {
      if (peerId !== except) connection.send(text, "hub");
    }
  }

  disconnect(match: (peer: ConnectedPeer) => boolean, code: number, reason: string): void {
    for (const peers of this.#rooms.values()) {
      for (const connection of peers.values()) {
        if (match(connection.peer)) connection.close(code, reason);
      }
    }
  }
}

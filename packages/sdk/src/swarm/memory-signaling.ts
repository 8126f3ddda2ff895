// A hub in memory for tests of links and what stands on them: presence, signal and relay between ports, with
// knobs to drop, delay or double what passes and to cut a peer off.
import type { HubToPeer, PeerId, PeerInfo, PeerToHub, Role } from "../protocol/index.ts";
import { Listeners } from "./listeners.ts";
import type { SignalingPort } from "./signaling-port.ts";

type Passing = Extract<PeerToHub, { type: "signal" | "relay" }>;
type FromHub<T extends HubToPeer["type"]> = Extract<HubToPeer, { type: T }>;
type Events = {
  readonly [T in "signal" | "relay" | "presence" | "error" | "welcome" | "job.changed"]: Listeners<
    FromHub<T>
  >;
};

/** What becomes of a message: delivered so many times, each after so many milliseconds. */
export type Fate = { readonly times: number; readonly delayMs: number };

export type MemoryPort = SignalingPort & {
  on(event: "job.changed", listener: (message: FromHub<"job.changed">) => void): () => void;
  /** As when the connection to the hub is lost, and found again. */
  cut(): void;
  restore(): void;
};

export class MemoryHub {
  /** Decides about each message; default: delivered once, at once. */
  fate: (message: Passing, from: PeerId) => Fate = () => ({ times: 1, delayMs: 0 });
  /** What ports report as not sent yet. */
  bufferedBytes = 0;
  /** Every message that was passed on. */
  readonly passed: Passing[] = [];
  readonly #peers = new Map<PeerId, { info: PeerInfo; role: Role; events: Events }>();

  /** Connects a peer. */
  join(peerId: PeerId, role: Role): MemoryPort {
    const events: Events = {
      signal: new Listeners(),
      relay: new Listeners(),
      presence: new Listeners(),
      error: new Listeners(),
      welcome: new Listeners(),
      "job.changed": new Listeners(),
    };
    const joinedAt = "2026-01-01T00:00:00.000Z";
    const me = { info: { peerId, name: `name of ${peerId}`, role, joinedAt }, role, events };
    let welcome: FromHub<"welcome"> | undefined;
    const restore = () => {
      welcome = this.#welcome(peerId, role);
      this.#peers.set(peerId, me);
      this.#announce(me.info, "joined");
      events.welcome.emit(welcome);
    };
    const cut = () => {
      this.#peers.delete(peerId);
      this.#announce(me.info, "left");
    };
    restore();
    const online = () => this.#peers.get(peerId) === me;
    const buffered = () => this.bufferedBytes;
    const port: MemoryPort = {
      get online() {
        return online();
      },
      get welcome() {
        return welcome;
      },
      get bufferedBytes() {
        return buffered();
      },
      send: (message) => {
        if (!online()) throw new Error("offline");
        this.#pass(message, me.info);
      },
      on: (event: keyof Events, listener: (message: never) => void) => {
        // The overloads pair each name with its message; the compiler cannot follow that here.
        const listeners: unknown = events[event];
        return (listeners as Listeners<never>).add(listener);
      },
      cut,
      restore,
    };
    return port;
  }

  /** Tells every peer. */
  changed(message: FromHub<"job.changed">): void {
    for (const { events } of this.#peers.values()) events["job.changed"].emit(message);
  }

  /** The hub's own word to one peer. */
  tell(peerId: PeerId, message: FromHub<"error">): void {
    this.#peers.get(peerId)?.events.error.emit(message);
  }

  #welcome(peerId: PeerId, role: Role): FromHub<"welcome"> {
    const others = [...this.#peers.values()].map(({ info }) => info);
    return {
      type: "welcome",
      protocol: 1,
      version: "0",
      peerId,
      room: "lab" as FromHub<"welcome">["room"],
      role,
      peers: others.filter((one) => one.peerId !== peerId),
      iceServers: [],
      keepAliveMs: 15_000,
    };
  }

  #announce(peer: PeerInfo, event: "joined" | "left"): void {
    for (const [peerId, { events }] of this.#peers) {
      if (peerId !== peer.peerId) events.presence.emit({ type: "presence", event, peer });
    }
  }

  #pass(message: Passing, from: PeerInfo): void {
    const { times, delayMs } = this.fate(message, from.peerId);
    // The wire is text: what is delivered shares nothing with what was sent.
    const text = JSON.stringify(message.data);
    for (let i = 0; i < times; i++) {
      if (delayMs === 0) setImmediate(() => this.#deliver(message, text, from));
      else setTimeout(() => this.#deliver(message, text, from), delayMs);
    }
  }

  #deliver(message: Passing, text: string, from: PeerInfo): void {
    const receiver = this.#peers.get(message.to);
    if (receiver === undefined) {
      const sender = this.#peers.get(from.peerId);
      const told = { code: "not_found", message: "not present", to: message.to };
      sender?.events.error.emit({ type: "error", ...told });
      return;
    }
    this.passed.push(message);
    const stamp = { from: from.peerId, role: from.role };
    const data: unknown = JSON.parse(text);
    if (message.type === "relay") {
      receiver.events.relay.emit({ type: "relay", ...stamp, name: from.name, data });
    } else {
      receiver.events.signal.emit({
        type: "signal",
        ...stamp,
        data: data as FromHub<"signal">["data"],
      });
    }
  }
}

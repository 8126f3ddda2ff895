// A hub in memory for tests of links and what stands on them: presence, signal and relay between ports, with
// knobs to drop, delay or double what passes and to cut a peer off.
import type {
  HubToPeer,
  IcePolicy,
  IceServer,
  Negotiation,
  PeerId,
  PeerInfo,
  PeerToHub,
  Role,
} from "../protocol/index.ts";
import { Listeners } from "./listeners.ts";
import type { SignalingPort } from "./signaling-port.ts";

type Passing = Extract<PeerToHub, { type: "signal" | "relay" }>;
type FromHub<T extends HubToPeer["type"]> = Extract<HubToPeer, { type: T }>;
const NAMES = [
  "signal",
  "relay",
  "presence",
  "error",
  "welcome",
  "job.changed",
  "ice.policy",
  "relay.budget",
] as const;
type Events = { readonly [T in (typeof NAMES)[number]]: Listeners<FromHub<T>> };
type Usage = Extract<PeerToHub, { type: "relay.usage" }>;
/** What a peer shows of its keys. */
export type ShownKeys = Pick<PeerInfo, "publicKey" | "agreement">;

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
  /** Changes what a peer is told of another; default: nothing. */
  show: (peer: PeerInfo) => PeerInfo = (peer) => peer;
  /** Changes negotiation on its way; default: nothing. */
  tamper: (data: Negotiation) => Negotiation = (data) => data;
  /** What ports report as not sent yet. */
  bufferedBytes = 0;
  iceServers: IceServer[] = [];
  iceExpiresAt: string | undefined;
  icePolicy: IcePolicy = "all";
  /** Every message that was passed on. */
  readonly passed: Passing[] = [];
  /** Relayed bytes as peers reported them. */
  readonly usage: (Usage & { readonly from: PeerId })[] = [];
  readonly #peers = new Map<PeerId, { info: PeerInfo; role: Role; events: Events }>();

  /** Connects a peer. */
  join(peerId: PeerId, role: Role, keys: ShownKeys = {}): MemoryPort {
    const events = Object.fromEntries(
      NAMES.map((name) => [name, new Listeners()]),
    ) as unknown as Events;
    const joinedAt = "2026-01-01T00:00:00.000Z";
    const info = { peerId, name: `name of ${peerId}`, role, joinedAt, ...keys };
    const me = { info, role, events };
    const restore = () => {
      this.#peers.set(peerId, me);
      this.#announce(me.info, "joined");
      events.welcome.emit(this.#welcome(peerId, role));
    };
    const cut = () => {
      this.#peers.delete(peerId);
      this.#announce(me.info, "left");
    };
    restore();
    const online = () => this.#peers.get(peerId) === me;
    // Links are made after their peers have joined: it tells who is there now.
    const welcome = () => this.#welcome(peerId, role);
    const buffered = () => this.bufferedBytes;
    const port: MemoryPort = {
      get online() {
        return online();
      },
      get welcome() {
        return welcome();
      },
      get bufferedBytes() {
        return buffered();
      },
      send: (message) => {
        if (!online()) throw new Error("offline");
        if (message.type === "relay.usage") this.usage.push({ ...message, from: peerId });
        else this.#pass(message, me.info);
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
  tell(peerId: PeerId, message: FromHub<"error" | "ice.policy" | "relay.budget">): void {
    const events = this.#peers.get(peerId)?.events;
    if (message.type === "error") events?.error.emit(message);
    else if (message.type === "ice.policy") events?.["ice.policy"].emit(message);
    else events?.["relay.budget"].emit(message);
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
      peers: others.filter((one) => one.peerId !== peerId).map((one) => this.show(one)),
      iceServers: this.iceServers,
      ...(this.iceExpiresAt === undefined ? {} : { iceExpiresAt: this.iceExpiresAt }),
      icePolicy: this.icePolicy,
      keepAliveMs: 15_000,
    };
  }

  #announce(peer: PeerInfo, event: "joined" | "left"): void {
    for (const [peerId, { events }] of this.#peers) {
      if (peerId === peer.peerId) continue;
      events.presence.emit({ type: "presence", event, peer: this.show(peer) });
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
        data: this.tamper(data as Negotiation),
      });
    }
  }
}

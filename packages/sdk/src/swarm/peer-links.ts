// All links of one peer: makes them when asked or when somebody signals, feeds them from the signaling
// port, and drops them when the other side is gone.
import { onNetworkChange as platformNetworkChange } from "#platform/network-changes";
import {
  type IcePolicy,
  type PeerId,
  type PeerInfo,
  type RelayBudget,
  WaybillError,
  messageOf,
} from "../protocol/index.ts";
import type { BulkStreams } from "./bulk/bulk.ts";
import { type Clock, systemClock } from "./clock.ts";
import { type IceServers, IceSource } from "./ice-source.ts";
import type { LinkContext } from "./link-context.ts";
import type { LinkKeysPort } from "./link-keys-port.ts";
import { Listeners } from "./listeners.ts";
import { type LinkMessage, type LinkPath, type LinkPeer, PeerLink } from "./peer-link.ts";
import { RelayBox } from "./relay-box.ts";
import { RelayMeter } from "./relay-meter.ts";
import type { PeerConnectionConstructor } from "./rtc-types.ts";
import type { RelayIn, SignalIn, SignalingPort } from "./signaling-port.ts";

/** A way to one peer that can always send while either the hub or a direct channel is there. */
export type ControlLink = {
  readonly peerId: PeerId;
  readonly peer: LinkPeer;
  readonly path: LinkPath;
  readonly closed: boolean;
  /** Bytes of any amount, over as many direct connections as the path can use. */
  readonly bulk: BulkStreams;
  /** Whether a sender that paces itself may send now; else it awaits `drain`. */
  readonly writable: boolean;
  /**
   * Sends on the best path. Throws `unreachable` when there is none or the sender ignores `drain`, and `too_large`.
   * Messages keep their order on one path and may be lost when it breaks.
   */
  send(message: LinkMessage): void;
  /** Resolves when `writable`; rejects when the path broke meanwhile (try again) or on abort. */
  drain(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  /** Each adds a listener; the result removes it. */
  onMessage(listener: (message: LinkMessage) => void): () => void;
  /** The path has changed, or its round trip was measured for the first time. */
  onPath(listener: (path: LinkPath) => void): () => void;
  /** The hub could not deliver a relayed message (`not_found`, `rate_limited`): it is lost. */
  onLost(listener: (event: { readonly code: string }) => void): () => void;
  onClose(listener: () => void): () => void;
  /** The peer needs it, too: when it is released here it is left to the peer, not closed. */
  share(): void;
};

/** A link held by somebody: stays, and keeps trying for a direct channel, until released. */
export type HeldLink = ControlLink & {
  /** Call once, when it is not needed any more; the last release closes the link, unless it is shared. */
  release(): void;
};

export type PeerLinks = AsyncDisposable & {
  /** The link to a peer; begins to set up a direct channel. The peer need not be present yet. */
  linkTo(peerId: PeerId): HeldLink;
  /** Messages of all links, also of those the other side began. */
  onMessage(
    listener: (event: { readonly message: LinkMessage; readonly link: ControlLink }) => void,
  ): () => void;
  /** Something a peer sent could not be understood or trusted, or a direct channel could not be made. */
  onProblem(listener: (error: WaybillError) => void): () => void;
  /** Closes all links, and tells the hub what they have relayed; idempotent. */
  stop(): Promise<void>;
};

export type PeerLinksInit = {
  readonly signaling: SignalingPort;
  /** `createLinkKeys` of the hub client; the session's hello must carry its `agreement`. */
  readonly keys: LinkKeysPort;
  /** Absent: everything goes through the hub. */
  readonly RTCPeerConnection?: PeerConnectionConstructor | undefined;
  /** This peer's own policy; the room's counts as well, and `relay` wins. Default `all`. */
  readonly icePolicy?: IcePolicy;
  /** Asked when the credentials that came with the welcome end soon. */
  readonly iceServers?: () => Promise<IceServers>;
  /** Tells of changes of this machine's network, after which direct channels are replaced; the platform's by default. */
  readonly onNetworkChange?: (listener: () => void) => () => void;
  readonly clock?: Clock;
  readonly epochMs?: () => number;
  readonly random?: () => number;
};

/**
 * Makes the links of one peer over its signaling session.
 *
 * @example
 * const links = createPeerLinks({ signaling: session, keys, RTCPeerConnection });
 * const link = links.linkTo(workerId);
 * link.onPath((path) => console.log(path.kind));
 * link.send({ type: "subscribe", id: "s1", job, sinceSeq: 0 });
 */
export function createPeerLinks(init: PeerLinksInit): PeerLinks {
  return new Links(init);
}

/** Statistics of connections are there at once; a stack that never gives them must not keep a process. */
const LAST_COUNT_MS = 1000;

type Entry = {
  readonly link: PeerLink;
  readonly control: ControlLink;
  holds: number;
  isShared: boolean;
};

class Links implements PeerLinks {
  readonly #context: LinkContext;
  readonly #entries = new Map<PeerId, Entry>();
  readonly #present = new Map<PeerId, PeerInfo>();
  readonly #messages = new Listeners<{
    readonly message: LinkMessage;
    readonly link: ControlLink;
  }>();
  readonly #problems = new Listeners<WaybillError>();
  readonly #off: (() => void)[];
  #stopped = false;

  constructor(init: PeerLinksInit) {
    const { signaling, onNetworkChange = platformNetworkChange } = init;
    this.#context = this.#contextOf(init);
    const { ice } = this.#context;
    this.#off = [
      onNetworkChange(() => {
        for (const { link } of this.#entries.values()) link.renew();
      }),
      signaling.on("signal", (message) => this.#entryOf(message).link.signaled(message.data)),
      signaling.on("relay", (message) => this.#entryOf(message).link.relayed(message.data)),
      signaling.on("presence", ({ event, peer }) => {
        if (event === "joined") this.#joined(peer);
        else this.#left(peer.peerId);
      }),
      signaling.on("error", ({ to, code }) => {
        if (to !== undefined) this.#entries.get(to)?.link.lost(code);
      }),
      signaling.on("ice.policy", ({ policy }) => this.#setPolicy(policy)),
      signaling.on("relay.budget", ({ budget }) => this.#setBudget(budget)),
      signaling.on("welcome", ({ peers, icePolicy, relayBudget }) => {
        ice.welcomed();
        this.#setPolicy(icePolicy ?? "all");
        this.#setBudget(relayBudget);
        this.#welcomed(peers);
      }),
    ];
    for (const peer of signaling.welcome?.peers ?? []) this.#know(peer);
  }

  linkTo(peerId: PeerId): HeldLink {
    const known = this.#present.get(peerId);
    const entry = this.#entry({
      peerId,
      role: known?.role ?? "viewer",
      name: known?.name ?? peerId,
    });
    entry.holds += 1;
    entry.link.want();
    let held = true;
    return Object.assign(
      controlOf(entry.link, () => entry.control.share()),
      {
        release: () => {
          if (!held) return;
          held = false;
          entry.holds -= 1;
          if (entry.holds > 0) return;
          if (!entry.isShared) this.#drop(peerId);
          else if (this.#entries.get(peerId) === entry) this.#spare(entry);
        },
      },
    );
  }

  onMessage(
    listener: (event: { readonly message: LinkMessage; readonly link: ControlLink }) => void,
  ): () => void {
    return this.#messages.add(listener);
  }

  onProblem(listener: (error: WaybillError) => void): () => void {
    return this.#problems.add(listener);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const off of this.#off) off();
    const peers = [...this.#entries.keys()];
    for (const peerId of peers) this.#drop(peerId);
    const { meter, clock } = this.#context;
    let cancel = () => {};
    const late = new Promise<void>((resolve) => (cancel = clock.after(LAST_COUNT_MS, resolve)));
    await Promise.race([meter.settled(), late]);
    cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #contextOf(init: PeerLinksInit): LinkContext {
    const { signaling, keys, RTCPeerConnection, iceServers } = init;
    const {
      icePolicy = "all",
      clock = systemClock,
      epochMs = Date.now,
      random = Math.random,
    } = init;
    const onProblem = (error: WaybillError) => this.#problems.emit(error);
    const self = () => signaling.welcome?.peerId;
    return {
      signaling,
      RTCPeerConnection,
      keys,
      clock,
      random,
      onProblem,
      box: new RelayBox({ keys, self }),
      meter: new RelayMeter(signaling),
      ice: new IceSource({
        signaling,
        clock,
        epochMs,
        icePolicy,
        fetch: iceServers,
        onProblem: (cause) => {
          const text = `no fresh ICE servers: ${messageOf(cause)}`;
          onProblem(new WaybillError("unreachable", text, { cause }));
        },
      }),
    };
  }

  /** The link to whoever sent this: only peers of our room reach us through the hub (signaling.md §4). */
  #entryOf(message: SignalIn | RelayIn): Entry {
    const { from, role } = message;
    const name = message.type === "relay" ? message.name : this.#present.get(from)?.name;
    const peer = { peerId: from, role, name: name ?? from };
    const entry = this.#entry(peer);
    entry.link.identify(peer);
    return entry;
  }

  #entry(peer: LinkPeer): Entry {
    const existing = this.#entries.get(peer.peerId);
    if (existing !== undefined) return existing;
    // A link that only the other side wanted ends with its direct channel when that peer has left.
    const onRest = () => this.#dropIfGone(peer.peerId);
    const link = new PeerLink({ context: this.#context, peer, onRest });
    const control = controlOf(link, () => {
      entry.isShared = true;
    });
    const entry: Entry = { link, control, holds: 0, isShared: false };
    link.onMessage.add((message) => this.#messages.emit({ message, link: control }));
    this.#entries.set(peer.peerId, entry);
    return entry;
  }

  #joined(peer: PeerInfo): void {
    this.#know(peer);
    this.#nudge(peer);
  }

  #know(peer: PeerInfo): void {
    this.#present.set(peer.peerId, peer);
    const isNew = this.#context.box.learn(peer);
    if (isNew) this.#entries.get(peer.peerId)?.link.restarted();
  }

  #setPolicy(policy: IcePolicy): void {
    if (!this.#context.ice.setRoomPolicy(policy)) return;
    for (const { link } of this.#entries.values()) link.policyChanged();
  }

  #setBudget(budget: RelayBudget | undefined): void {
    this.#context.meter.setBudget(budget);
    for (const { link } of this.#entries.values()) link.bulk.budgetChanged();
  }

  #nudge(peer: PeerInfo): void {
    const entry = this.#entries.get(peer.peerId);
    if (entry === undefined) return;
    entry.link.identify({ peerId: peer.peerId, role: peer.role, name: peer.name });
    entry.link.nudge();
  }

  #left(peerId: PeerId): void {
    this.#present.delete(peerId);
    this.#entries.get(peerId)?.link.probe();
    this.#dropIfGone(peerId);
  }

  #welcomed(peers: readonly PeerInfo[]): void {
    this.#present.clear();
    for (const peer of peers) this.#know(peer);
    const known = [...this.#entries.keys()];
    for (const peerId of known) this.#dropIfGone(peerId);
    for (const peer of peers) this.#nudge(peer);
  }

  #spare({ link }: Entry): void {
    link.spare();
    this.#dropIfGone(link.peerId);
  }

  #dropIfGone(peerId: PeerId): void {
    const entry = this.#entries.get(peerId);
    if (entry === undefined || entry.holds > 0 || this.#present.has(peerId)) return;
    if (!entry.link.direct) this.#drop(peerId);
  }

  #drop(peerId: PeerId): void {
    const entry = this.#entries.get(peerId);
    if (entry === undefined) return;
    this.#entries.delete(peerId);
    entry.link.close();
  }
}

/** The part of a link its users see. */
function controlOf(link: PeerLink, share: () => void): ControlLink {
  return {
    peerId: link.peerId,
    get peer() {
      return link.peer;
    },
    get path() {
      return link.path;
    },
    get closed() {
      return link.closed;
    },
    bulk: link.bulk,
    get writable() {
      return link.writable;
    },
    send: (message) => link.send(message),
    drain: (options) => link.drain(options),
    onMessage: (listener) => link.onMessage.add(listener),
    onPath: (listener) => link.onPath.add(listener),
    onLost: (listener) => link.onLost.add(listener),
    onClose: (listener) => link.onClose.add(() => listener()),
    share,
  };
}

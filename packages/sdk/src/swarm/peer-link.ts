// A link to one peer that can always send: over the direct channel when it is open, else over the hub.
// `negotiation-state.ts` decides about the direct channel; this file performs.
import {
  type ControlMessage,
  type IceServer,
  type Negotiation,
  type PeerId,
  type Role,
  WaybillError,
  assertNever,
  cryptoRandom,
  messageOf,
  randomText,
} from "../protocol/index.ts";
import { backoffMs } from "../timing/index.ts";
import { BoundedWriter, LOW_WATER_BYTES } from "./bounded-writer.ts";
import type { Clock } from "./clock.ts";
import { decodeControlText, decodeControlValue, encodeControl } from "./control-codec.ts";
import {
  type CandidateType,
  DirectChannel,
  type PeerConnectionConstructor,
} from "./direct-channel.ts";
import { Heartbeat } from "./heartbeat.ts";
import { Listeners } from "./listeners.ts";
import {
  type NegotiationEffect,
  type NegotiationEvent,
  type NegotiationState,
  UNCONNECTED,
  nextNegotiation,
} from "./negotiation-state.ts";
import type { SignalingPort } from "./signaling-port.ts";

/** How a link's messages travel now. `rttMs` is undefined until the first pong on that path. */
export type LinkPath =
  | {
      readonly kind: "webrtc";
      readonly candidateType: CandidateType | undefined;
      readonly rttMs: number | undefined;
    }
  | { readonly kind: "relay"; readonly rttMs: number | undefined };

/** Messages of a link; what keeps it alive stays inside. */
export type LinkMessage = Exclude<ControlMessage, { type: "ping" | "pong" }>;

/** The peer as the hub vouches for it. */
export type LinkPeer = { readonly peerId: PeerId; readonly role: Role; readonly name: string };

export type PeerLinkInit = {
  readonly signaling: SignalingPort;
  readonly RTCPeerConnection: PeerConnectionConstructor | undefined;
  readonly peer: LinkPeer;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onProblem: (error: WaybillError) => void;
  /** There is no direct channel any more, nor one being set up. */
  readonly onRest: () => void;
};

/** The W3C WebSocket has no drain event; only a choked relay waits this way. */
const RELAY_POLL_MS = 5;
const RETRY = { baseMs: 1000, capMs: 60_000 } as const;

export class PeerLink {
  readonly peerId: PeerId;
  readonly onMessage = new Listeners<LinkMessage>();
  readonly onPath = new Listeners<LinkPath>();
  /** The hub could not deliver something of ours: it is lost. */
  readonly onLost = new Listeners<{ readonly code: string }>();
  readonly onClose = new Listeners<undefined>();
  readonly #init: PeerLinkInit;
  readonly #relay: BoundedWriter<ControlMessage>;
  readonly #heartbeat: Heartbeat;
  #peer: LinkPeer;
  #state: NegotiationState = UNCONNECTED;
  #direct: DirectChannel | undefined;
  /** The description an effect is about to use. */
  #sdp = "";
  #path: LinkPath = { kind: "relay", rttMs: undefined };
  #cancelTimer: (() => void) | undefined;
  #closed = false;

  constructor(init: PeerLinkInit) {
    this.#init = init;
    this.#peer = init.peer;
    this.peerId = init.peer.peerId;
    const { signaling, clock } = init;
    this.#relay = new BoundedWriter<ControlMessage>({
      send: (data) => signaling.send({ type: "relay", to: this.peerId, data }),
      get bufferedBytes() {
        return signaling.bufferedBytes;
      },
      whenLow: (run) => pollUntil(clock, () => signaling.bufferedBytes <= LOW_WATER_BYTES, run),
    });
    this.#heartbeat = new Heartbeat({
      clock,
      ping: (t) => this.#ping(t),
      watched: () => this.#direct?.writer !== undefined,
      wanted: () => this.#state.wanted || this.#path.kind === "webrtc",
      onSilence: () => this.#fail(),
    });
  }

  get peer(): LinkPeer {
    return this.#peer;
  }

  get path(): LinkPath {
    return this.#path;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether there is a direct channel or one being set up. */
  get direct(): boolean {
    return this.#state.phase !== "resting";
  }

  /** Whether a sender that paces itself may send now. */
  get writable(): boolean {
    const direct = this.#direct?.writer;
    if (direct !== undefined) return direct.writable;
    return !this.#closed && this.#init.signaling.online && this.#relay.writable;
  }

  /**
   * Sends on the best path, now or as soon as its buffer is low. Throws `unreachable` when there is no path or the
   * sender has ignored `drain`, `too_large` over the limit. A message may be lost when its path breaks.
   */
  send(message: ControlMessage): void {
    const text = encodeControl(message);
    const direct = this.#direct?.writer;
    if (direct !== undefined) {
      direct.write(text, text.length);
      return;
    }
    this.#sendRelay(message, text.length);
  }

  /** Resolves when `send` would not queue; rejects when the path broke meanwhile (try again) or on abort. */
  async drain(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const direct = this.#direct?.writer;
    if (direct === undefined && !this.#init.signaling.online) {
      throw new WaybillError("unreachable", `no path to peer ${this.peerId}`);
    }
    await (direct ?? this.#relay).drain(options.signal);
  }

  /** Asks for a direct channel, now and whenever it breaks. */
  want(): void {
    if (this.#init.RTCPeerConnection !== undefined) this.#happen({ type: "want", fresh: fresh() });
    this.#heartbeat.start();
  }

  /** What the hub says of the peer. */
  identify(peer: LinkPeer): void {
    this.#peer = peer;
  }

  /** The peer or our own hub connection has come (back): a channel of before may be dead. */
  nudge(): void {
    this.#happen({ type: "nudge", fresh: fresh() });
    this.#heartbeat.probe();
  }

  /** The peer has left the hub: perhaps for good. */
  probe(): void {
    this.#heartbeat.probe();
  }

  /** Negotiation data of the peer. */
  signaled(data: Negotiation): void {
    const { connection } = data;
    const ours = this.#direct?.connection === connection ? this.#direct : undefined;
    switch (data.kind) {
      case "candidate":
        ours?.addCandidate(data);
        return;
      case "bye":
        this.#happen({ type: "bye", connection });
        return;
      case "description":
        this.#described(data);
        return;
      default:
        assertNever(data);
    }
  }

  /** A control message the hub relayed. */
  relayed(value: unknown): void {
    this.#take(() => decodeControlValue(value), "relay");
  }

  lost(code: string): void {
    this.onLost.emit({ code });
  }

  /** Closes the direct channel with a word to the peer; the link is dead afterwards. */
  close(): void {
    if (this.#closed) return;
    this.#happen({ type: "unwant" });
    this.#closed = true;
    this.#cancelTimer?.();
    this.#heartbeat.stop();
    this.#relay.close(new WaybillError("unreachable", `the link to ${this.peerId} was closed`));
    this.onClose.emit(undefined);
  }

  #described(data: Extract<Negotiation, { kind: "description" }>): void {
    const { connection, sdpType, sdp } = data;
    if (sdpType === "rollback") return;
    if (sdpType === "offer" && this.#init.RTCPeerConnection === undefined) {
      this.#signal({ kind: "bye", connection });
      return;
    }
    this.#sdp = sdp;
    this.#happen({ type: sdpType === "offer" ? "offered" : "answered", connection });
  }

  #happen(event: NegotiationEvent): void {
    if (this.#closed) return;
    const self = this.#init.signaling.welcome?.peerId ?? "";
    const before = this.#state.phase;
    const { state, effects } = nextNegotiation(this.#state, event, self < this.peerId);
    this.#state = state;
    if (state.phase !== before) this.#cancelTimer?.();
    for (const effect of effects) this.#perform(effect);
    if (state.phase === "resting" && before !== "resting") this.#init.onRest();
  }

  #perform(effect: NegotiationEffect): void {
    const { random, clock } = this.#init;
    switch (effect.type) {
      case "offer":
        void this.#open(effect.connection)?.offer();
        return;
      case "answer":
        void this.#open(effect.connection)?.answer(this.#sdp);
        return;
      case "apply":
        void this.#direct?.apply(this.#sdp);
        return;
      case "close":
        this.#direct?.close();
        this.#direct = undefined;
        if (effect.bye) this.#signal({ kind: "bye", connection: effect.connection });
        if (this.#path.kind === "webrtc") this.#setPath({ kind: "relay", rttMs: undefined });
        return;
      case "timer":
      case "backoff": {
        const ms =
          effect.type === "timer" ? effect.ms : backoffMs(effect.attempt, { ...RETRY, random });
        this.#cancelTimer?.();
        this.#cancelTimer = clock.after(ms, () => this.#happen({ type: "timer", fresh: fresh() }));
        return;
      }
      default:
        assertNever(effect);
    }
  }

  #open(connection: string): DirectChannel | undefined {
    const { RTCPeerConnection, signaling, clock } = this.#init;
    if (RTCPeerConnection === undefined) return undefined;
    const iceServers: readonly IceServer[] = signaling.welcome?.iceServers ?? [];
    const make = () =>
      new DirectChannel({
        RTCPeerConnection,
        iceServers,
        connection,
        clock,
        signal: (data) => signaling.send({ type: "signal", to: this.peerId, data }),
        onMessage: (data) => this.#take(() => decodeControlText(data), "webrtc"),
        onOpen: (candidateType) => {
          this.#happen({ type: "opened", connection });
          this.#setPath({ kind: "webrtc", candidateType, rttMs: undefined });
          this.#heartbeat.start();
        },
        onClosed: () => this.#happen({ type: "failed", connection }),
      });
    try {
      this.#direct = make();
    } catch (cause) {
      const text = `no direct channel to ${this.peerId}: ${messageOf(cause)}`;
      this.#init.onProblem(new WaybillError("internal", text, { cause }));
      queueMicrotask(() => this.#happen({ type: "failed", connection }));
    }
    return this.#direct;
  }

  #fail(): void {
    const direct = this.#direct;
    if (direct !== undefined) this.#happen({ type: "failed", connection: direct.connection });
  }

  #signal(data: Negotiation): void {
    try {
      this.#init.signaling.send({ type: "signal", to: this.peerId, data });
    } catch {
      // Only `bye` goes this way; a peer that misses it finds out by silence.
    }
  }

  #sendRelay(message: ControlMessage, bytes: number): void {
    if (!this.#init.signaling.online) {
      throw new WaybillError("unreachable", `no path to peer ${this.peerId}`);
    }
    this.#relay.write(message, bytes);
  }

  #setPath(path: LinkPath): void {
    const was = this.#path;
    this.#path = path;
    const same =
      was.kind === path.kind &&
      (was.kind !== "webrtc" ||
        path.kind !== "webrtc" ||
        was.candidateType === path.candidateType) &&
      (was.rttMs === undefined) === (path.rttMs === undefined);
    if (!same && !this.#closed) this.onPath.emit(path);
  }

  #take(decode: () => ControlMessage, via: LinkPath["kind"]): void {
    let message: ControlMessage;
    try {
      message = decode();
    } catch (error) {
      if (error instanceof WaybillError) this.#init.onProblem(error);
      return;
    }
    if (message.type === "ping") this.#answer({ type: "pong", t: message.t }, via);
    else if (message.type === "pong") this.#ponged(message.t, via);
    else this.onMessage.emit(message);
  }

  #answer(message: ControlMessage, via: LinkPath["kind"]): void {
    try {
      if (via === "relay") this.#sendRelay(message, 64);
      else this.#direct?.writer?.write(encodeControl(message), 64);
    } catch {
      // A pong that cannot be sent is the silence it should be.
    }
  }

  #ponged(t: number, via: LinkPath["kind"]): void {
    const now = this.#init.clock.now();
    if (via === "webrtc") this.#heartbeat.heard();
    if (via === this.#path.kind) this.#setPath({ ...this.#path, rttMs: Math.max(0, now - t) });
  }

  #ping(t: number): void {
    try {
      this.send({ type: "ping", t });
    } catch {
      // No path now: there is nothing to measure.
    }
  }
}

function pollUntil(clock: Clock, done: () => boolean, run: () => void): () => void {
  let cancel = () => {};
  const look = () => {
    if (done()) run();
    else cancel = clock.after(RELAY_POLL_MS, look);
  };
  cancel = clock.after(RELAY_POLL_MS, look);
  return () => cancel();
}

function fresh(): string {
  return randomText(12, cryptoRandom);
}

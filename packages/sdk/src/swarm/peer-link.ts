// A link to one peer that can always send: over the direct channel when it is open, else over the hub, sealed.
// `negotiator.ts` keeps the direct connection, `bulk/` its further ones and what streams over them.
import {
  BYE,
  type ControlMessage,
  type Negotiation,
  type PeerId,
  type Role,
  WaybillError,
} from "../protocol/index.ts";
import { Bulk } from "./bulk/bulk.ts";
import { decodeControlText, encodeControl } from "./control-codec.ts";
import type { DirectConnection } from "./direct-connection.ts";
import { Heartbeat } from "./heartbeat.ts";
import { ICE_MARGIN_MS } from "./ice-source.ts";
import type { LinkContext } from "./link-context.ts";
import { Listeners } from "./listeners.ts";
import { Negotiator } from "./negotiator.ts";
import { RelayPath } from "./relay-path.ts";
import { RoundTrip } from "./round-trip.ts";
import type { CandidateType } from "./sdp.ts";
import { type SelectedPair, isRelayed, pathTypeOf } from "./selected-pair.ts";

/** How a link's messages travel now. `rttMs` is smoothed, and undefined until the first pong on that path. */
export type LinkPath =
  | {
      readonly kind: "webrtc";
      /** `relay`: through a TURN server. */
      readonly candidateType: CandidateType | undefined;
      readonly rttMs: number | undefined;
    }
  | { readonly kind: "relay"; readonly rttMs: number | undefined };

/** Messages of a link; what keeps it alive stays inside. */
export type LinkMessage = Exclude<ControlMessage, { type: "ping" | "pong" | "signal" | "leaving" }>;

/** The peer as the hub vouches for it. */
export type LinkPeer = { readonly peerId: PeerId; readonly role: Role; readonly name: string };

export type PeerLinkInit = {
  readonly context: LinkContext;
  readonly peer: LinkPeer;
  /** There is no direct channel any more, nor one being set up. */
  readonly onRest: () => void;
};

/** A connection whose replacement did not open is not replaced again sooner. */
const RENEW_REST_MS = 15_000;

export class PeerLink {
  readonly peerId: PeerId;
  readonly onMessage = new Listeners<LinkMessage>();
  readonly onPath = new Listeners<LinkPath>();
  /** The hub could not deliver something of ours: it is lost. */
  readonly onLost = new Listeners<{ readonly code: string }>();
  readonly onClose = new Listeners<undefined>();
  readonly bulk: Bulk;
  readonly #context: LinkContext;
  readonly #relay: RelayPath;
  readonly #heartbeat: Heartbeat;
  readonly #negotiator: Negotiator;
  readonly #rtt = new RoundTrip();
  #peer: LinkPeer;
  #path: LinkPath = { kind: "relay", rttMs: undefined };
  #renewedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(init: PeerLinkInit) {
    const { context, onRest } = init;
    this.#context = context;
    this.#peer = init.peer;
    this.peerId = init.peer.peerId;
    const { signaling, box, clock, onProblem } = context;
    const peer = this.peerId;
    this.#relay = new RelayPath({
      signaling,
      box,
      peer,
      clock,
      onText: (text) => this.#take(text, undefined),
      onLost: (code) => this.lost(code),
      onProblem,
    });
    this.bulk = new Bulk({
      context,
      peer,
      rttMs: () => (this.#path.kind === "webrtc" ? this.#rtt.leastMs : undefined),
      signal: (data) => this.#signalBulk(data),
    });
    this.#negotiator = new Negotiator({
      context,
      peer,
      onServing: (connection) => this.#serve(connection),
      onUnserved: () => {
        if (this.#path.kind === "webrtc") this.#setPath({ kind: "relay", rttMs: undefined });
      },
      onControl: (data, connection) => this.#take(data, connection),
      onPair: (connection, pair) => this.#paired(connection, pair),
      onLane: (lane) => this.bulk.addLane(lane),
      onFrame: (data, lane) => this.bulk.receive(data, lane),
      onConnectionGone: (connection) => this.bulk.removeLane(connection),
      onRest,
    });
    this.#heartbeat = new Heartbeat({
      clock,
      ping: (t) => this.#beat(t),
      watched: () => this.#negotiator.serving !== undefined,
      wanted: () => this.#negotiator.state.wanted || this.#path.kind === "webrtc",
      onSilence: () => this.#negotiator.fail("the peer did not answer on it"),
      onLate: () => this.renew(),
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
    return this.#negotiator.state.phase !== "resting";
  }

  /** Whether a sender that paces itself may send now. */
  get writable(): boolean {
    const direct = this.#negotiator.serving?.writer;
    return direct === undefined ? this.#relay.writable : direct.writable;
  }

  /**
   * Sends on the best path, now or as soon as its buffer is low. Throws `unreachable` when there is no path or the
   * sender has ignored `drain`, `too_large` over the limit. A message may be lost when its path breaks.
   */
  send(message: ControlMessage): void {
    const text = encodeControl(message);
    const direct = this.#negotiator.serving?.writer;
    if (direct === undefined) this.#relay.send(text);
    else direct.write(text, text.length);
  }

  /** Resolves when `send` would not queue; rejects when the path broke meanwhile (try again) or on abort. */
  async drain(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await (this.#negotiator.serving?.writer ?? this.#relay).drain(options.signal);
  }

  /** Asks for a direct channel, now and whenever it breaks. */
  want(): void {
    if (this.#context.RTCPeerConnection !== undefined) this.#negotiator.want();
    this.#heartbeat.start();
  }

  /** Nobody here asks for a direct channel any more; the peer may use the one there is. */
  spare(): void {
    this.#negotiator.spare();
  }

  /** What the hub says of the peer. */
  identify(peer: LinkPeer): void {
    this.#peer = peer;
  }

  /** Another process has taken over the peer's id: what streams to and from the old one is lost. */
  restarted(): void {
    this.bulk.reset();
  }

  /** The peer or our own hub connection has come (back): a channel of before may be dead. */
  nudge(): void {
    this.#negotiator.nudge();
    this.#heartbeat.probe();
  }

  /** The peer has left the hub: perhaps for good. */
  probe(): void {
    this.#heartbeat.probe();
  }

  /** The direct channel's path has changed or will end: replaces it while it still serves. */
  renew(): void {
    const now = this.#context.clock.now();
    if (now - this.#renewedAt < RENEW_REST_MS) return;
    this.#renewedAt = now;
    this.#negotiator.renew();
  }

  /** The policy has changed. Connections it does not allow end at once; the others are replaced. */
  policyChanged(): void {
    this.bulk.closeExtras();
    if (this.#context.ice.policy === "relay") {
      this.#negotiator.abandon("only relayed paths are allowed");
      this.#negotiator.nudge();
    } else this.#negotiator.renew();
  }

  /** Negotiation data of the peer. */
  signaled(data: Negotiation): void {
    const isOffer = data.kind === "description" && data.sdpType === "offer";
    if (isOffer && this.#context.RTCPeerConnection === undefined) {
      const { connection } = data;
      const reason = "this peer has no WebRTC";
      this.#signal({ kind: "bye", connection, code: BYE.unsupported, reason });
    } else if (!this.bulk.signaled(data)) this.#negotiator.signaled(data);
  }

  /** A sealed control message the hub relayed. */
  relayed(value: unknown): void {
    this.#relay.receive(value);
  }

  lost(code: string): void {
    if (!this.#closed) this.onLost.emit({ code });
  }

  /** Closes the direct channel with a word to the peer; the link is dead afterwards. */
  close(): void {
    if (this.#closed) return;
    this.bulk.close();
    this.#negotiator.stop();
    this.#closed = true;
    this.#heartbeat.stop();
    this.#relay.close(new WaybillError("unreachable", `the link to ${this.peerId} was closed`));
    this.onClose.emit(undefined);
  }

  #serve(connection: DirectConnection): void {
    this.#setPath({
      kind: "webrtc",
      candidateType: pathTypeOf(connection.pair),
      rttMs: undefined,
    });
    this.#heartbeat.start();
  }

  #paired(connection: DirectConnection, pair: SelectedPair): void {
    this.#context.meter.report(connection.connection, this.peerId, pair);
    if (this.#path.kind === "webrtc" && this.#negotiator.serving === connection) {
      this.#setPath({ ...this.#path, candidateType: pathTypeOf(pair) });
    }
  }

  #beat(t: number): void {
    const { serving, endsAtMs } = this.#negotiator;
    const endsSoon = endsAtMs !== undefined && endsAtMs - t < ICE_MARGIN_MS;
    if (endsSoon && isRelayed(serving?.pair)) this.renew();
    try {
      this.send({ type: "ping", t });
    } catch {
      // No path now: there is nothing to measure.
    }
  }

  #signal(data: Negotiation): void {
    try {
      this.#context.signaling.send({ type: "signal", to: this.peerId, data });
    } catch {
      // A peer that misses it finds out by silence.
    }
  }

  /** Negotiation of further connections: over the one that is open, else through the hub. */
  #signalBulk(data: Negotiation): void {
    const direct = this.#negotiator.serving?.writer;
    if (direct === undefined) {
      this.#context.signaling.send({ type: "signal", to: this.peerId, data });
      return;
    }
    const text = encodeControl({ type: "signal", data });
    direct.write(text, text.length);
  }

  #setPath(path: LinkPath): void {
    const was = this.#path;
    if (was.kind !== path.kind || path.rttMs === undefined) this.#rtt.reset();
    this.#path = path;
    const same =
      was.kind === path.kind &&
      (was.kind !== "webrtc" ||
        path.kind !== "webrtc" ||
        was.candidateType === path.candidateType) &&
      (was.rttMs === undefined) === (path.rttMs === undefined);
    if (!same && !this.#closed) this.onPath.emit(path);
  }

  /** `via`: the connection it came on; undefined for the hub's relay. */
  #take(data: unknown, via: DirectConnection | undefined): void {
    let message: ControlMessage;
    try {
      message = decodeControlText(data);
    } catch (error) {
      if (error instanceof WaybillError) this.#context.onProblem(error);
      return;
    }
    switch (message.type) {
      case "ping":
        this.#answer({ type: "pong", t: message.t }, via);
        return;
      case "pong":
        this.#ponged(message.t, via);
        return;
      case "signal":
        this.bulk.signaled(message.data);
        return;
      case "leaving":
        if (via !== undefined) this.#negotiator.leaving(via.connection);
        return;
      default:
        this.onMessage.emit(message);
    }
  }

  #answer(message: ControlMessage, via: DirectConnection | undefined): void {
    try {
      const text = encodeControl(message);
      if (via === undefined) this.#relay.send(text);
      else via.writer?.write(text, text.length);
    } catch {
      // A pong that cannot be sent is the silence it should be.
    }
  }

  #ponged(t: number, via: DirectConnection | undefined): void {
    const { serving } = this.#negotiator;
    if (via !== undefined) this.#negotiator.ponged(via.connection, t);
    if (via !== undefined && via === serving) this.#heartbeat.heard();
    const onPath = via === undefined ? this.#path.kind === "relay" : via === serving;
    if (!onPath) return;
    const rttMs = this.#rtt.add(this.#context.clock.now() - t);
    this.#setPath({ ...this.#path, rttMs });
  }
}

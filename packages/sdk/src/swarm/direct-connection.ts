// One RTCPeerConnection with its channels, for one connection id: `control` and `bulk`, or `bulk` alone. It is made,
// opens or not, and is closed; it never renegotiates. Works on browsers and on node-datachannel's W3C layer.
//
// The answering side lets the offerer's checks come first. If its own succeed before the offerer can take DTLS,
// its first flight is lost, and libdatachannel sends it again only after one second (its issue #1635): that
// happened to a third of loopback pairs and more; with the delay to none of 240, which open in about 60 ms.
import {
  BULK_CHANNEL,
  BYE,
  type ByeCode,
  CONTROL_CHANNEL,
  type IceServer,
  WaybillError,
  messageOf,
} from "../protocol/index.ts";
import { BoundedWriter, LOW_WATER_BYTES } from "./bounded-writer.ts";
import { type BulkLane, LANE_LOW_BYTES, createBulkLane } from "./bulk-lane.ts";
import { type Candidate, CandidateGate } from "./candidates.ts";
import { CarriedBytes } from "./carried-bytes.ts";
import { whenChannelLow } from "./channel-room.ts";
import type { Description, DirectConnectionInit } from "./connection-init.ts";
import { checkDescription, proveDescription } from "./peer-proof.ts";
import type { PeerConnection } from "./rtc-types.ts";
import { RelayGate } from "./relay-gate.ts";
import { allowedSdp, maxMessageBytes, withoutCandidates } from "./sdp.ts";
import { type SelectedPair, isRelayed, readSelectedPair } from "./selected-pair.ts";

/** The offerer's checks are paced 50 ms apart; two of them come before the first of ours. */
const ANSWERER_DELAY_MS = 100;
/** How often the selected pair is looked at: it may change, and its bytes are counted. */
const INSPECT_MS = 5000;
/** Browsers show a pair a moment after the channel is open. */
const PAIR_TRIES = 10;
const PAIR_TRY_MS = 50;
/** Of IP packets: DESIGN measured 14 % more than the default of 1280; every path of today's carries it. */
const MTU = 1450;

export class DirectConnection {
  readonly connection: string;
  readonly #init: DirectConnectionInit;
  readonly #pc: PeerConnection;
  readonly #ours: CandidateGate;
  /** Where the stack does not keep to the policy: what of the peer's may be given to it. */
  readonly #relays: RelayGate | undefined;
  readonly #theirs: CandidateGate;
  #control: RTCDataChannel | undefined;
  #bulk: RTCDataChannel | undefined;
  #writer: BoundedWriter<string> | undefined;
  #pair: SelectedPair | undefined;
  #remoteSdp = "";
  /** Of messages: libdatachannel's own count leaves binary ones out. */
  #receivedBytes = 0;
  #sentBytes = 0;
  readonly #carried = new CarriedBytes();
  #state: "new" | "open" | "closed" = "new";
  #cancelDelay = () => {};
  #cancelInspect = () => {};

  constructor(init: DirectConnectionInit) {
    this.#init = init;
    this.connection = init.connection;
    this.#pc = new init.RTCPeerConnection({
      iceServers: init.iceServers.map(toRtc),
      iceTransportPolicy: init.policy,
      mtu: MTU,
    });
    this.#ours = new CandidateGate(init.policy, (candidate) => this.#signal(candidate));
    const isEnforced = init.policy === "all" || init.RTCPeerConnection === platformsOwn();
    const give = ({ candidate, mid }: Candidate) => {
      // Those that cannot be used are no failure, others may do.
      this.#pc.addIceCandidate({ candidate, sdpMid: mid ?? "0" }).catch(() => undefined);
    };
    const relays = isEnforced ? undefined : new RelayGate(init.iceServers, give);
    this.#relays = relays;
    this.#theirs = new CandidateGate(init.policy, (theirs) =>
      relays === undefined ? give(theirs) : relays.take(theirs),
    );
    this.#pc.addEventListener("icecandidate", ({ candidate: found }) => {
      if (found === null || this.#state === "closed") return;
      const { candidate, sdpMid } = found;
      relays?.learn(candidate);
      this.#ours.take({ kind: "candidate", candidate, mid: sdpMid, connection: this.connection });
    });
    this.#pc.addEventListener("datachannel", ({ channel }) => this.#offeredChannel(channel));
    this.#pc.addEventListener("connectionstatechange", () => {
      const state = this.#pc.connectionState;
      if (state === "failed" || state === "closed") this.#failed(`its connection ${state}`);
      else if (state === "disconnected" && this.#state === "open") init.onShaky();
    });
  }

  /** The writer of the open control channel; undefined before and after. */
  get writer(): BoundedWriter<string> | undefined {
    return this.#state === "open" ? this.#writer : undefined;
  }

  /** As last seen. */
  get pair(): SelectedPair | undefined {
    return this.#pair;
  }

  /** Begins as the offering side. */
  async offer(): Promise<void> {
    await this.#attempt(async () => {
      if (!this.#init.bulkOnly) {
        const options = { ordered: true, protocol: CONTROL_CHANNEL };
        this.#adoptControl(this.#pc.createDataChannel(CONTROL_LABEL, options));
      }
      const options = { ordered: false, protocol: BULK_CHANNEL };
      this.#adoptBulk(this.#pc.createDataChannel(BULK_LABEL, options));
      const description = await this.#pc.createOffer();
      await this.#pc.setLocalDescription(description);
      await this.#describe("offer", description.sdp);
    });
  }

  /** Begins as the answering side. */
  async answer(offer: Description): Promise<void> {
    await this.#attempt(async () => {
      const sdp = await this.#checked("offer", offer);
      await this.#pc.setRemoteDescription({ type: "offer", sdp });
      const description = await this.#pc.createAnswer();
      await this.#pc.setLocalDescription(description);
      await this.#describe("answer", description.sdp);
      this.#cancelDelay = this.#init.clock.after(ANSWERER_DELAY_MS, () => this.#theirs.open());
    });
  }

  /** The peer's answer to our offer. */
  async apply(answer: Description): Promise<void> {
    await this.#attempt(async () => {
      const sdp = await this.#checked("answer", answer);
      await this.#pc.setRemoteDescription({ type: "answer", sdp });
      this.#theirs.open();
    });
  }

  /** A candidate of the peer. */
  addCandidate(candidate: Candidate): void {
    if (this.#state !== "closed") this.#theirs.take(candidate);
  }

  /** Closes it; nothing but the last count of its bytes is reported any more. Idempotent. */
  close(): void {
    if (this.#state === "closed") return;
    const wasOpen = this.#state === "open";
    this.#state = "closed";
    this.#cancelDelay();
    this.#cancelInspect();
    this.#writer?.close(new WaybillError("unreachable", "the direct channel was closed"));
    const last = wasOpen ? readSelectedPair(this.#pc).catch(() => undefined) : undefined;
    // The statistics are read before the connection is gone: node-datachannel's at once, browsers' soon.
    const end = (pair: SelectedPair | undefined) => {
      const final = pair ?? this.#pair;
      if (wasOpen && final !== undefined) this.#tell(final);
    };
    if (last !== undefined) this.#init.onClosing(last.then(end));
    this.#control?.close();
    this.#bulk?.close();
    this.#pc.close();
  }

  async #attempt(steps: () => Promise<void>): Promise<void> {
    try {
      await steps();
    } catch (cause) {
      const refused = cause instanceof WaybillError && cause.code === "unauthorized";
      this.#ended(
        cause instanceof WaybillError
          ? cause
          : new WaybillError("unreachable", `no direct channel: ${messageOf(cause)}`, { cause }),
        refused ? BYE.refused : BYE.failed,
      );
    }
  }

  /** The SDP of a description that is really the peer's, without what the policy does not allow. */
  async #checked(sdpType: "offer" | "answer", description: Description): Promise<string> {
    const { sdp, proof, replaces, bulk } = description;
    const { keys, self, peer, policy } = this.#init;
    const { connection } = this;
    const described = { connection, sdpType, from: peer, to: self, sdp, replaces, bulk };
    await checkDescription(keys, { ...described, proof });
    this.#remoteSdp = sdp;
    const allowed = allowedSdp(sdp, policy);
    if (this.#relays === undefined) return allowed;
    const parts = withoutCandidates(allowed);
    for (const candidate of parts.candidates) {
      this.#theirs.take({ kind: "candidate", candidate, connection });
    }
    return parts.sdp;
  }

  async #describe(sdpType: "offer" | "answer", made: string | undefined): Promise<void> {
    if (made === undefined)
      throw new WaybillError("internal", `the platform made an empty ${sdpType}`);
    const { keys, self, peer, policy, offer } = this.#init;
    const { connection } = this;
    const sdp = allowedSdp(made, policy);
    const extra = sdpType === "offer" ? offer : {};
    const described = { connection, sdpType, from: self, to: peer, sdp, ...extra };
    const proof = await proveDescription(keys, described);
    if (this.#closed()) return;
    this.#init.signal({ kind: "description", sdpType, sdp, connection, proof, ...extra });
    this.#ours.open();
  }

  #signal(candidate: Candidate): void {
    try {
      if (!this.#closed()) this.#init.signal(candidate);
    } catch {
      // Signaling is away: the negotiation's deadline decides.
    }
  }

  #offeredChannel(channel: RTCDataChannel): void {
    const { label, protocol } = channel;
    const isControl = label === CONTROL_LABEL && protocol === CONTROL_CHANNEL;
    const isBulk = label === BULK_LABEL && protocol === BULK_CHANNEL;
    if (isControl && !this.#init.bulkOnly && this.#control === undefined) {
      this.#adoptControl(channel);
    } else if (isBulk && this.#bulk === undefined) {
      this.#adoptBulk(channel);
    } else channel.close();
  }

  #adoptControl(channel: RTCDataChannel): void {
    this.#control = channel;
    channel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
    channel.addEventListener("message", (event: MessageEvent<unknown>) => {
      if (typeof event.data === "string") this.#receivedBytes += event.data.length;
      if (this.#state !== "closed") this.#init.onControl(event.data);
    });
    this.#whenOpen(channel, () => this.#openedControl(channel));
  }

  #adoptBulk(channel: RTCDataChannel): void {
    this.#bulk = channel;
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = LANE_LOW_BYTES;
    let lane: BulkLane | undefined;
    channel.addEventListener("message", (event: MessageEvent<unknown>) => {
      lane ??= this.#laneOf(channel);
      if (event.data instanceof ArrayBuffer) this.#receivedBytes += event.data.byteLength;
      if (this.#state !== "closed") this.#init.onFrame(event.data, lane);
    });
    this.#whenOpen(channel, async () => {
      lane ??= this.#laneOf(channel);
      if (this.#init.bulkOnly) await this.#opened();
      else await this.#allowedPair();
      if (!this.#closed()) this.#init.onLane(lane);
    });
  }

  #laneOf(channel: RTCDataChannel): BulkLane {
    return createBulkLane({
      channel,
      connection: this.connection,
      shared: !this.#init.bulkOnly,
      maxMessageBytes: Math.min(
        this.#pc.sctp?.maxMessageSize ?? Number.POSITIVE_INFINITY,
        maxMessageBytes(this.#remoteSdp),
      ),
      relayed: () => isRelayed(this.#pair),
      onSent: (bytes) => (this.#sentBytes += bytes),
      clock: this.#init.clock,
    });
  }

  #whenOpen(channel: RTCDataChannel, opened: () => Promise<void>): void {
    let done = false;
    const open = () => {
      if (done || this.#closed()) return;
      done = true;
      void this.#attempt(opened);
    };
    channel.addEventListener("close", () => this.#failed("its channel was closed"));
    channel.addEventListener("error", () => this.#failed("its channel failed"));
    channel.addEventListener("open", open);
    if (channel.readyState === "open") open();
  }

  async #openedControl(channel: RTCDataChannel): Promise<void> {
    this.#writer = new BoundedWriter<string>({
      send: (text) => {
        channel.send(text);
        this.#sentBytes += text.length;
      },
      get bufferedBytes() {
        return channel.bufferedAmount;
      },
      whenLow: (run) => whenChannelLow(channel, LOW_WATER_BYTES, this.#init.clock, run),
    });
    await this.#opened();
  }

  async #opened(): Promise<void> {
    const pair = await this.#allowedPair();
    // `close()` may have come while the statistics were read.
    if (this.#closed()) return;
    this.#state = "open";
    this.#watchPair();
    this.#init.onOpen(pair);
  }

  /** The selected pair; throws `unauthorized` when the policy does not allow it or it cannot be told. */
  async #allowedPair(): Promise<SelectedPair | undefined> {
    const { policy, clock } = this.#init;
    let pair = await readSelectedPair(this.#pc).catch(() => undefined);
    const tries = policy === "relay" ? PAIR_TRIES : 0;
    for (let i = 0; i < tries && pair === undefined; i++) {
      await new Promise<void>((resolve) => void clock.after(PAIR_TRY_MS, resolve));
      pair = await readSelectedPair(this.#pc).catch(() => undefined);
    }
    this.#pair = pair ?? this.#pair;
    this.#checkPolicy(this.#pair);
    return this.#pair;
  }

  /** node-datachannel does not keep to `iceTransportPolicy` when it pairs candidates. */
  #checkPolicy(pair: SelectedPair | undefined): void {
    if (this.#init.policy === "all" || pair?.local === "relay") return;
    const found = pair?.local ?? "unknown";
    const text = `the connection to peer ${this.#init.peer} goes out by a ${found} candidate, but only relayed ones are allowed`;
    throw new WaybillError("unauthorized", text);
  }

  #watchPair(): void {
    this.#cancelInspect = this.#init.clock.after(INSPECT_MS, () => {
      void this.#attempt(async () => {
        const pair = await this.#allowedPair();
        if (this.#closed()) return;
        if (pair !== undefined) this.#tell(pair);
        this.#watchPair();
      });
    });
  }

  #tell(pair: SelectedPair): void {
    // Statistics of a connection that the other side has closed may be gone: what the channels carried is the least.
    const sent = this.#sentBytes - this.#queuedBytes();
    this.#init.onPair(this.#carried.least(pair, sent, this.#receivedBytes));
  }

  /** Taken by the channels, and not sent. */
  #queuedBytes(): number {
    return (this.#control?.bufferedAmount ?? 0) + (this.#bulk?.bufferedAmount ?? 0);
  }

  #closed(): boolean {
    return this.#state === "closed";
  }

  #failed(what: string): void {
    const text = `the direct channel to peer ${this.#init.peer} is gone: ${what}`;
    this.#ended(new WaybillError("unreachable", text), BYE.failed);
  }

  #ended(reason: WaybillError, code: ByeCode): void {
    if (this.#state === "closed") return;
    this.close();
    this.#init.onClosed(reason, code);
  }
}

/** Browsers keep to `iceTransportPolicy`; stacks that are brought along may not. */
function platformsOwn(): unknown {
  return globalThis.RTCPeerConnection;
}

const CONTROL_LABEL = "control";
const BULK_LABEL = "bulk";

function toRtc(server: IceServer): RTCIceServer {
  return {
    urls: [...server.urls],
    ...(server.username === undefined ? {} : { username: server.username }),
    ...(server.credential === undefined ? {} : { credential: server.credential }),
  };
}

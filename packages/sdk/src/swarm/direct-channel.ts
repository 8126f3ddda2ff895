// One RTCPeerConnection and its control channel, for one connection id. It is made, opens or not, and is
// closed; it never renegotiates. Works on browsers and on node-datachannel's W3C layer.
//
// The answering side lets the offerer's checks come first. If its own succeed before the offerer can take DTLS,
// its first flight is lost, and libdatachannel sends it again only after one second (its issue #1635): that
// happened to a third of loopback pairs and more; with the delay to none of 240, which open in about 60 ms.
import {
  CONTROL_CHANNEL,
  type IceServer,
  type Negotiation,
  WaybillError,
  messageOf,
} from "../protocol/index.ts";
import { BoundedWriter, LOW_WATER_BYTES } from "./bounded-writer.ts";
import type { Clock } from "./clock.ts";

/** The part of the W3C API that is used; browsers' and node-datachannel's both fit. */
export type PeerConnection = Pick<
  RTCPeerConnection,
  | "connectionState"
  | "addEventListener"
  | "addIceCandidate"
  | "close"
  | "createAnswer"
  | "createDataChannel"
  | "createOffer"
  | "getStats"
  | "setLocalDescription"
  | "setRemoteDescription"
>;
export type PeerConnectionConstructor = new (config: RTCConfiguration) => PeerConnection;

export type CandidateType = "host" | "srflx" | "prflx" | "relay";

/** Label of the control channel; a bulk channel will have another. */
const CONTROL_LABEL = "control";
/** The offerer's checks are paced 50 ms apart; two of them come before the first of ours. */
const ANSWERER_DELAY_MS = 100;
/** More than any host has; a peer that trickles on for ever is not collected. */
const MAX_CANDIDATES = 128;

export type DirectChannelInit = {
  readonly RTCPeerConnection: PeerConnectionConstructor;
  readonly iceServers: readonly IceServer[];
  readonly connection: string;
  readonly clock: Clock;
  readonly signal: (message: Negotiation) => void;
  readonly onOpen: (candidateType: CandidateType | undefined) => void;
  readonly onMessage: (data: unknown) => void;
  /** Called once, when it failed or the peer closed it; not after `close()`. */
  readonly onClosed: (reason: string) => void;
};

type Candidate = Extract<Negotiation, { kind: "candidate" }>;

export class DirectChannel {
  readonly connection: string;
  readonly #init: DirectChannelInit;
  readonly #pc: PeerConnection;
  #channel: RTCDataChannel | undefined;
  #writer: BoundedWriter<string> | undefined;
  #state: "new" | "open" | "closed" = "new";
  #cancelDelay = () => {};
  /** Ours, until our description is on its way; ends as undefined. */
  #held: Candidate[] | undefined = [];
  /** The peer's, until they can be used; ends as undefined. */
  #early: Candidate[] | undefined = [];

  constructor(init: DirectChannelInit) {
    this.#init = init;
    this.connection = init.connection;
    this.#pc = new init.RTCPeerConnection({ iceServers: init.iceServers.map(toRtc) });
    this.#pc.addEventListener("icecandidate", ({ candidate }) => this.#gathered(candidate));
    this.#pc.addEventListener("datachannel", ({ channel }) => this.#offeredChannel(channel));
    this.#pc.addEventListener("connectionstatechange", () => {
      const state = this.#pc.connectionState;
      if (state === "failed" || state === "closed") this.#ended(`connection ${state}`);
    });
  }

  /** The writer of the open channel; undefined before and after. */
  get writer(): BoundedWriter<string> | undefined {
    return this.#state === "open" ? this.#writer : undefined;
  }

  /** Begins as the offering side. */
  async offer(): Promise<void> {
    await this.#attempt(async () => {
      const options = { ordered: true, protocol: CONTROL_CHANNEL };
      this.#adopt(this.#pc.createDataChannel(CONTROL_LABEL, options));
      const description = await this.#pc.createOffer();
      await this.#pc.setLocalDescription(description);
      this.#describe("offer", description.sdp);
    });
  }

  /** Begins as the answering side. */
  async answer(sdp: string): Promise<void> {
    await this.#attempt(async () => {
      await this.#pc.setRemoteDescription({ type: "offer", sdp });
      const description = await this.#pc.createAnswer();
      await this.#pc.setLocalDescription(description);
      this.#describe("answer", description.sdp);
      this.#cancelDelay = this.#init.clock.after(ANSWERER_DELAY_MS, () => this.#takeEarly());
    });
  }

  /** The peer's answer to our offer. */
  async apply(sdp: string): Promise<void> {
    await this.#attempt(async () => {
      await this.#pc.setRemoteDescription({ type: "answer", sdp });
      this.#takeEarly();
    });
  }

  /** A candidate of the peer; those that cannot be used are no failure, others may do. */
  addCandidate(candidate: Candidate): void {
    if (this.#state === "closed") return;
    if (this.#early === undefined) {
      const init = { candidate: plain(candidate.candidate), sdpMid: candidate.mid ?? "0" };
      this.#pc.addIceCandidate(init).catch(() => undefined);
    } else if (this.#early.length < MAX_CANDIDATES) {
      this.#early.push(candidate);
    }
  }

  /** Closes both; nothing is reported any more. Idempotent. */
  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#cancelDelay();
    this.#writer?.close(new WaybillError("unreachable", "the direct channel was closed"));
    this.#channel?.close();
    this.#pc.close();
  }

  async #attempt(steps: () => Promise<void>): Promise<void> {
    try {
      await steps();
    } catch (error) {
      this.#ended(messageOf(error));
    }
  }

  #describe(sdpType: "offer" | "answer", sdp: string | undefined): void {
    if (this.#state === "closed") return;
    if (sdp === undefined)
      throw new WaybillError("internal", `the platform made an empty ${sdpType}`);
    this.#init.signal({ kind: "description", sdpType, sdp, connection: this.connection });
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const candidate of held) this.#signalCandidate(candidate);
  }

  #gathered(found: RTCIceCandidate | null): void {
    if (found === null || found.candidate === "" || this.#state === "closed") return;
    const candidate: Candidate = {
      kind: "candidate",
      candidate: plain(found.candidate),
      mid: found.sdpMid,
      connection: this.connection,
    };
    if (this.#held === undefined) this.#signalCandidate(candidate);
    else this.#held.push(candidate);
  }

  #signalCandidate(candidate: Candidate): void {
    try {
      this.#init.signal(candidate);
    } catch {
      // Signaling is away: the negotiation's deadline decides.
    }
  }

  #takeEarly(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const candidate of early) this.addCandidate(candidate);
  }

  #offeredChannel(channel: RTCDataChannel): void {
    const known = channel.label === CONTROL_LABEL && channel.protocol === CONTROL_CHANNEL;
    if (!known || this.#channel !== undefined) {
      channel.close();
      return;
    }
    this.#adopt(channel);
  }

  #adopt(channel: RTCDataChannel): void {
    this.#channel = channel;
    channel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
    channel.addEventListener("message", (event: MessageEvent<unknown>) => {
      if (this.#state !== "closed") this.#init.onMessage(event.data);
    });
    channel.addEventListener("close", () => this.#ended("channel closed"));
    channel.addEventListener("error", () => this.#ended("channel failed"));
    channel.addEventListener("open", () => void this.#opened(channel));
    if (channel.readyState === "open") void this.#opened(channel);
  }

  async #opened(channel: RTCDataChannel): Promise<void> {
    if (this.#writer !== undefined || this.#state === "closed") return;
    this.#writer = new BoundedWriter<string>({
      send: (text) => channel.send(text),
      get bufferedBytes() {
        return channel.bufferedAmount;
      },
      whenLow: (run) => whenLow(channel, this.#init.clock, run),
    });
    const candidateType = await selectedCandidateType(this.#pc).catch(() => undefined);
    // `close()` may have come while the statistics were read.
    if (this.#closed()) return;
    this.#state = "open";
    this.#init.onOpen(candidateType);
  }

  #closed(): boolean {
    return this.#state === "closed";
  }

  #ended(reason: string): void {
    if (this.#state === "closed") return;
    this.close();
    this.#init.onClosed(reason);
  }
}

function whenLow(channel: RTCDataChannel, clock: Clock, run: () => void): () => void {
  if (channel.bufferedAmount <= LOW_WATER_BYTES) {
    // The event fires on crossing the threshold only; it was crossed already.
    return clock.after(0, run);
  }
  const onLow = () => {
    channel.removeEventListener("bufferedamountlow", onLow);
    run();
  };
  channel.addEventListener("bufferedamountlow", onLow);
  return () => channel.removeEventListener("bufferedamountlow", onLow);
}

type PairStats = {
  readonly type: string;
  readonly state?: string;
  readonly nominated?: boolean;
  readonly localCandidateId?: string;
  readonly remoteCandidateId?: string;
};

/** `relay` when either end of the selected pair is relayed, else how our own end was found. */
async function selectedCandidateType(pc: PeerConnection): Promise<CandidateType | undefined> {
  const report = new Map<string, unknown>();
  (await pc.getStats()).forEach((value: unknown, key: string) => report.set(key, value));
  const pairs = ([...report.values()] as PairStats[]).filter(
    ({ type, state }) => type === "candidate-pair" && state === "succeeded",
  );
  const pair = pairs.find(({ nominated }) => nominated === true) ?? pairs[0];
  const typeOf = (id: string | undefined) =>
    (report.get(id ?? "") as { readonly candidateType?: CandidateType } | undefined)?.candidateType;
  const remote = typeOf(pair?.remoteCandidateId);
  return remote === "relay" ? remote : typeOf(pair?.localCandidateId);
}

/** node-datachannel prints candidates with the SDP attribute's `a=`; browsers want them without. */
function plain(candidate: string): string {
  return candidate.startsWith("a=") ? candidate.slice(2) : candidate;
}

function toRtc(server: IceServer): RTCIceServer {
  return {
    urls: [...server.urls],
    ...(server.username === undefined ? {} : { username: server.username }),
    ...(server.credential === undefined ? {} : { credential: server.credential }),
  };
}

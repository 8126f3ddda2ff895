// One peer's conversation: hello, welcome, then messages, each checked against the peer's role. The only
// place that decides what a peer may say (docs/protocol/signaling.md §2, §4, §5).
//
//   opened ──hello──▶ authenticating ──welcome──▶ accepted ──close──▶ closed
//      └─ late, other, refused: closed
import {
  CLOSE,
  type ErrorCode,
  type HubToPeer,
  LIMITS,
  PROTOCOL_VERSION,
  type PeerId,
  PeerToHub,
  type RoomId,
  WaybillError,
  assertNever,
  decodeJson,
  messageOf,
  signalingPath,
} from "@waybill/sdk/protocol";
import { verifyAgreement } from "@waybill/sdk/hub-client";
import type { Caller } from "../http/handler.ts";
import type { IceFacts } from "../ice/ice-area.ts";
import { peerIdOf } from "./peer-id.ts";
import type { ConnectedPeer, Connection, Delivery, Priority, Router } from "./router.ts";
import type { Wire, WireEvents } from "./wire.ts";

type Hello = Extract<PeerToHub, { type: "hello" }>;
type HeldJobs = NonNullable<Hello["worker"]>["jobs"];

/** What a peer says of the bytes it relays. */
export type RelayReport = Extract<PeerToHub, { type: "relay.usage" }>;

/** What only workers may say. */
export type WorkerMessage = Extract<
  PeerToHub,
  { type: "job.accept" | "job.decline" | "job.released" | "command.ack" }
>;

export type PeerSessionDeps = {
  readonly router: Router;
  readonly authenticateHello: (
    room: RoomId,
    hello: Pick<Hello, "token" | "proof" | "publicKey">,
    path: string,
  ) => Promise<{ readonly caller: Caller; readonly thumbprint: string }>;
  readonly now: () => number;
  readonly hubVersion: string;
  /** What the peer's welcome says of ICE servers and the room's policy; asked last, so that it is the newest. */
  readonly iceFactsFor: (room: RoomId, peer: PeerId) => Promise<IceFacts>;
  readonly keepAliveMs: number;
  readonly helloTimeoutMs: number;
  readonly onJoined: (peer: ConnectedPeer, held: HeldJobs) => void;
  readonly onLeft: (peer: ConnectedPeer) => void;
  readonly onWorkerMessage: (peer: ConnectedPeer, message: WorkerMessage) => void;
  readonly onRelayReport: (peer: ConnectedPeer, message: RelayReport) => void;
  readonly onClosed: (session: PeerSession) => void;
};

/** Messages that may arrive behind a hello before the token is checked; more than a chunk of TCP holds. */
const MAX_EARLY_MESSAGES = 1024;
const MAX_EARLY_CHARS = 1024 * 1024;

export class PeerSession implements Connection {
  readonly #deps: PeerSessionDeps;
  readonly #room: RoomId;
  readonly #remote: string;
  readonly #wire: Wire;
  readonly #helloTimer: NodeJS.Timeout;
  #state: "opened" | "authenticating" | "accepted" | "closed" = "opened";
  #early: string[] = [];
  #earlyChars = 0;
  #peer: ConnectedPeer | undefined;

  constructor(
    open: (events: WireEvents) => Wire,
    { room, remote }: { readonly room: RoomId; readonly remote: string },
    deps: PeerSessionDeps,
  ) {
    this.#deps = deps;
    this.#room = room;
    this.#remote = remote;
    this.#wire = open({
      onText: (text) => this.#onText(text),
      onClose: () => this.#onClose(),
    });
    this.#helloTimer = setTimeout(
      () => this.close(CLOSE.idle, "no hello in time"),
      deps.helloTimeoutMs,
    );
  }

  /** The accepted peer; only an accepted session is in a router. */
  get peer(): ConnectedPeer {
    if (this.#peer === undefined) throw new WaybillError("internal", "peer is not accepted yet");
    return this.#peer;
  }

  send(text: string, priority: Priority): Exclude<Delivery, "absent"> {
    return this.#wire.send(text, priority);
  }

  close(code: number, reason: string): void {
    this.#wire.close(code, reason);
  }

  #onText(text: string): void {
    switch (this.#state) {
      case "opened":
        void this.#authenticate(text);
        return;
      case "authenticating":
        this.#keepEarly(text);
        return;
      case "accepted":
        this.#onMessage(text);
        return;
      case "closed":
        return;
      default:
        assertNever(this.#state);
    }
  }

  #keepEarly(text: string): void {
    this.#earlyChars += text.length;
    const isTooMuch =
      this.#early.length === MAX_EARLY_MESSAGES || this.#earlyChars > MAX_EARLY_CHARS;
    if (isTooMuch) this.close(1008, "waits for no welcome");
    else this.#early.push(text);
  }

  async #authenticate(text: string): Promise<void> {
    this.#state = "authenticating";
    clearTimeout(this.#helloTimer);
    this.#wire.hold();
    try {
      const hello = this.#decodeHello(text);
      const path = signalingPath(this.#room);
      const { caller, thumbprint } = await this.#deps.authenticateHello(this.#room, hello, path);
      if (hello.worker !== undefined && caller.role !== "worker") {
        throw new WaybillError("forbidden", `a ${caller.role} cannot be a worker`, {
          hint: "join with an invite for workers",
        });
      }
      if (hello.serves !== undefined && caller.role === "viewer") {
        throw new WaybillError("forbidden", "a viewer cannot serve artifacts to others");
      }
      if (!(await isAgreementOf(hello))) {
        throw new WaybillError("unauthorized", "the hello's agreement was signed by another key");
      }
      const peerId = peerIdOf(thumbprint, hello.instance);
      const ice = await this.#deps.iceFactsFor(this.#room, peerId);
      if (!this.#isClosed()) this.#accept(hello, caller, peerId, ice);
    } catch (error) {
      this.#refuse(error);
    } finally {
      this.#wire.release();
    }
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #decodeHello(text: string): Hello {
    let message: PeerToHub;
    try {
      message = decodeJson(PeerToHub, text, "first message", LIMITS.signalingFrameBytes);
    } catch (error) {
      // A peer of another version may say hello in words this hub does not know.
      const theirs = protocolOf(text);
      throw theirs === undefined || theirs === PROTOCOL_VERSION ? error : unsupported(theirs);
    }
    if (message.type !== "hello") {
      throw new WaybillError("unauthorized", "the first message must be hello");
    }
    if (message.protocol !== PROTOCOL_VERSION) throw unsupported(message.protocol);
    return message;
  }

  #accept(hello: Hello, caller: Caller, peerId: PeerId, ice: IceFacts): void {
    const { router, now, hubVersion, keepAliveMs } = this.#deps;
    const joinedAt = new Date(now()).toISOString();
    const info = {
      peerId,
      name: hello.name,
      role: caller.role,
      joinedAt,
      publicKey: hello.publicKey,
      ...(hello.agreement === undefined ? {} : { agreement: hello.agreement }),
    };
    const peer: ConnectedPeer = {
      room: this.#room,
      info,
      caller,
      remote: this.#remote,
      ...(hello.serves === undefined ? {} : { serves: hello.serves }),
      ...(hello.worker === undefined
        ? {}
        : {
            worker: {
              capabilities: hello.worker.capabilities,
              connectedAt: joinedAt,
              ...(hello.worker.cached === undefined ? {} : { cached: hello.worker.cached }),
            },
          }),
    };
    this.#peer = peer;
    const replaced = router.join(this);
    this.#state = "accepted";
    this.#say({
      type: "welcome",
      protocol: PROTOCOL_VERSION,
      version: hubVersion,
      peerId,
      room: this.#room,
      role: caller.role,
      peers: router.peers(this.#room).flatMap((other) => (other === peer ? [] : [other.info])),
      ...ice,
      keepAliveMs,
    });
    router.broadcast(this.#room, { type: "presence", event: "joined", peer: info }, peerId);
    if (replaced !== undefined) {
      replaced.close(CLOSE.replaced, "a newer connection took this peer id");
      this.#deps.onLeft(replaced.peer);
    }
    this.#deps.onJoined(peer, hello.worker?.jobs ?? []);
    const early = this.#early;
    this.#early = [];
    for (const text of early) this.#onMessage(text);
  }

  #refuse(error: unknown): void {
    if (this.#isClosed()) return;
    const code: ErrorCode = error instanceof WaybillError ? error.code : "internal";
    const why = messageOf(error);
    this.#say({ type: "error", code, message: why });
    if (code === "unsupported_version") this.close(CLOSE.unsupportedVersion, why);
    else if (error instanceof WaybillError && !error.retryable) this.close(CLOSE.unauthorized, why);
    else this.close(CLOSE.restarting, "cannot check the token now");
  }

  #onMessage(text: string): void {
    let message: PeerToHub;
    try {
      message = decodeJson(PeerToHub, text, "message", LIMITS.signalingFrameBytes);
    } catch (error) {
      this.#complain("invalid_request", messageOf(error));
      return;
    }
    switch (message.type) {
      case "hello":
        this.#complain("invalid_request", "this socket has said hello already");
        return;
      case "ping":
        this.#say({ type: "pong", t: message.t });
        return;
      case "signal": {
        const { peerId, role } = this.peer.info;
        const { to, data } = message;
        this.#forward(to, { type: "signal", from: peerId, role, data });
        return;
      }
      case "relay": {
        const { peerId, role, name } = this.peer.info;
        const { to, data } = message;
        if (role === "viewer" && isCommand(data)) {
          this.#complain("forbidden", "a viewer cannot give commands", to);
          return;
        }
        this.#forward(to, { type: "relay", from: peerId, role, name, data });
        return;
      }
      case "job.accept":
      case "job.decline":
      case "job.released":
      case "command.ack":
        if (this.peer.worker === undefined) {
          this.#complain("forbidden", `${message.type} is for workers`);
          return;
        }
        this.#deps.onWorkerMessage(this.peer, message);
        return;
      case "worker.cached":
        if (this.peer.worker === undefined) {
          this.#complain("forbidden", `${message.type} is for workers`);
          return;
        }
        this.peer.worker.cached = message.artifacts;
        return;
      case "relay.usage":
        this.#deps.onRelayReport(this.peer, message);
        return;
      default:
        assertNever(message);
    }
  }

  #forward(to: PeerId, message: HubToPeer): void {
    const outcome = this.#deps.router.deliver(this.#room, to, message, "relayed");
    if (outcome === "absent") this.#complain("not_found", `peer ${to} is not here`, to);
    if (outcome === "busy") this.#complain("rate_limited", `peer ${to} reads too slowly`, to);
  }

  #complain(code: ErrorCode, message: string, to?: PeerId): void {
    this.#say({ type: "error", code, message, ...(to === undefined ? {} : { to }) });
  }

  #say(message: HubToPeer): void {
    this.#wire.send(JSON.stringify(message), "hub");
  }

  #onClose(): void {
    clearTimeout(this.#helloTimer);
    this.#state = "closed";
    const peer = this.#peer;
    if (peer !== undefined && this.#deps.router.leave(this)) {
      const left: HubToPeer = { type: "presence", event: "left", peer: peer.info };
      this.#deps.router.broadcast(this.#room, left);
      this.#deps.onLeft(peer);
    }
    this.#deps.onClosed(this);
  }
}

async function isAgreementOf({ publicKey, agreement }: Hello): Promise<boolean> {
  return agreement === undefined || verifyAgreement(publicKey, agreement);
}

function isCommand(data: unknown): boolean {
  return typeof data === "object" && data !== null && "type" in data && data.type === "command";
}

function protocolOf(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && "protocol" in value
      ? value.protocol
      : undefined;
  } catch {
    return undefined;
  }
}

function unsupported(theirs: unknown): WaybillError {
  return new WaybillError(
    "unsupported_version",
    `peer speaks protocol ${String(theirs)}, this hub ${PROTOCOL_VERSION}`,
    { hint: "install the same version of waybill on both ends" },
  );
}

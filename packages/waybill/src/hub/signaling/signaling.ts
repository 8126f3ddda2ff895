// The hub's WebSocket server: accepts upgrades, keeps the sessions, and offers presence and delivery to the rest
// of the hub. What peers may say is in peer-session.ts, how bytes are bounded in peer-socket.ts.
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import {
  CLOSE,
  type HubToPeer,
  type JobId,
  LIMITS,
  type PeerId,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";
import { type WebSocket, WebSocketServer } from "ws";
import type { Clock, Log } from "../log.ts";
import { PeerSocket } from "./peer-socket.ts";
import { type PollArea, type PollAreaDeps, createPollArea } from "./poll-area.ts";
import {
  PeerSession,
  type PeerSessionDeps,
  type RelayReport,
  type WorkerMessage,
} from "./peer-session.ts";
import { type ConnectedPeer, LocalRouter, type Router } from "./router.ts";

export type SignalingDeps = Pick<PeerSessionDeps, "authenticateHello" | "hubVersion"> & {
  readonly clock: Clock;
  readonly log: Log;
  /** Address a connection came from. Default: the socket's. */
  readonly remoteOf?: (request: IncomingMessage) => string;
  /** Default: no servers, and nothing said of a policy. */
  readonly iceFactsFor?: PeerSessionDeps["iceFactsFor"];
  readonly router?: Router;
  readonly keepAliveMs?: number;
  readonly helloTimeoutMs?: number;
  /** How long a peer may take to answer a close frame. */
  readonly closeGraceMs?: number;
  /** Peers that have not said hello yet; more are told to come back. Default 1,024. */
  readonly maxUngreeted?: number;
  /** How long a poll waits for something to answer. */
  readonly pollWaitMs?: number;
};

/** Facts about peers, for the rest of the hub; called in the order things happen. */
export type SignalingListener = {
  /** `held`: the jobs a worker says it still works on. */
  joined?(peer: ConnectedPeer, held: readonly HeldJob[]): void;
  left?(peer: ConnectedPeer): void;
  relayReport?(peer: ConnectedPeer, message: RelayReport): void;
  workerMessage?(peer: ConnectedPeer, message: WorkerMessage): void;
};

export type HeldJob = { readonly job: JobId; readonly attempt: number };

export interface Signaling {
  /** Takes over an upgrade request for the room's signaling path; the room's existence is checked with the token. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, room: RoomId): void;
  /** Signaling for peers whose network lets no WebSocket through. */
  readonly pollHandlers: PollArea["handlers"];
  peers(room: RoomId): readonly ConnectedPeer[];
  find(room: RoomId, peerId: PeerId): ConnectedPeer | undefined;
  /** Rooms with at least one peer. */
  rooms(): readonly RoomId[];
  /** Sends; answers whether the peer is here and takes messages. */
  send(room: RoomId, peerId: PeerId, message: HubToPeer): boolean;
  broadcast(room: RoomId, message: HubToPeer): void;
  /** Answers a function that ends the subscription. */
  listen(listener: SignalingListener): () => void;
  /** Closes peers whose right to be here was withdrawn (4401). */
  expel(match: (peer: ConnectedPeer) => boolean, reason: string): void;
  /** Ends a room's presence: every socket is closed with 4503. */
  dropRoom(room: RoomId): void;
  /** Closes every socket with 4503 and accepts no more. Idempotent. */
  stop(): Promise<void>;
}

/** More are a flood, or everybody at once after a restart: those who come back find a place soon. */
const MAX_UNGREETED = 1024;
/** `docs/protocol/signaling.md` §2. */
const HELLO_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 2000;
/** A closed poll tells why for so long: its peer may be in the pause between two tries. */
const POLL_GRACE_MS = 30_000;

/** Makes the signaling server; it listens to nothing by itself. */
export function createSignaling(deps: SignalingDeps): Signaling {
  const router = deps.router ?? new LocalRouter();
  const listeners = new Set<SignalingListener>();
  const sessions = new Set<PeerSession>();
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.signalingFrameBytes,
    perMessageDeflate: false,
    clientTracking: false,
  });
  const { clock: now, closeGraceMs = CLOSE_GRACE_MS, keepAliveMs = LIMITS.keepAliveMs } = deps;
  let accepted = 0;
  let stopped: Promise<void> | undefined;
  let onEmpty: (() => void) | undefined;

  const sessionDeps: PeerSessionDeps = {
    router,
    authenticateHello: deps.authenticateHello,
    now,
    hubVersion: deps.hubVersion,
    iceFactsFor: deps.iceFactsFor ?? (async () => ({ iceServers: [] })),
    keepAliveMs,
    helloTimeoutMs: deps.helloTimeoutMs ?? HELLO_TIMEOUT_MS,
    onJoined: (peer, held) => {
      accepted += 1;
      deps.log("info", `${peer.info.role} ${peer.info.peerId} joined ${peer.room}`);
      for (const listener of listeners) listener.joined?.(peer, held);
    },
    onLeft: (peer) => {
      accepted -= 1;
      deps.log("info", `${peer.info.role} ${peer.info.peerId} left ${peer.room}`);
      for (const listener of listeners) listener.left?.(peer);
    },
    onWorkerMessage: (peer, message) => {
      for (const listener of listeners) listener.workerMessage?.(peer, message);
    },
    onRelayReport: (peer, message) => {
      for (const listener of listeners) listener.relayReport?.(peer, message);
    },
    onClosed: (session) => {
      sessions.delete(session);
      if (sessions.size === 0) onEmpty?.();
    },
  };

  const { maxUngreeted = MAX_UNGREETED } = deps;
  let turnedAway = 0;
  const isFull = () => stopped !== undefined || sessions.size - accepted >= maxUngreeted;
  // An upgrade that fails looks like a network that forbids WebSockets: its peer would begin to poll, which costs more.
  const turnAway = (ws: WebSocket) => {
    turnedAway += 1;
    ws.on("error", () => {});
    ws.close(CLOSE.restarting, "the hub takes no more peers now");
    const cutOff = setTimeout(() => ws.terminate(), closeGraceMs);
    ws.once("close", () => {
      turnedAway -= 1;
      clearTimeout(cutOff);
    });
  };
  const accept: PollAreaDeps["accept"] = (from, open) => {
    sessions.add(new PeerSession(open, from, sessionDeps));
  };
  const polls = createPollArea({
    accept(from, open) {
      if (isFull()) throw new WaybillError("unreachable", "the hub takes no more peers now");
      accept(from, open);
    },
    keepAliveMs,
    waitMs: deps.pollWaitMs,
    closeGraceMs: POLL_GRACE_MS,
    now,
  });

  const stop = async () => {
    const empty = new Promise<void>((resolve) => {
      onEmpty = resolve;
    });
    if (sessions.size === 0) onEmpty?.();
    for (const session of sessions) session.close(CLOSE.restarting, "hub is stopping");
    await empty;
    polls.stop();
    server.close();
  };

  return {
    upgrade(request, socket, head, room) {
      if (stopped !== undefined || turnedAway >= maxUngreeted) {
        socket.on("error", () => {});
        socket.end(
          "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\r\n",
        );
        return;
      }
      server.handleUpgrade(request, socket, head, (ws) => {
        if (isFull()) {
          turnAway(ws);
          return;
        }
        const remote = deps.remoteOf?.(request) ?? request.socket.remoteAddress ?? "unknown";
        accept(
          { room, remote },
          (events) => new PeerSocket({ ...events, ws, keepAliveMs, closeGraceMs, now }),
        );
      });
    },
    pollHandlers: polls.handlers,
    peers: (room) => router.peers(room),
    find: (room, peerId) => router.find(room, peerId),
    rooms: () => router.rooms(),
    send: (room, peerId, message) => router.deliver(room, peerId, message, "hub") === "delivered",
    broadcast: (room, message) => router.broadcast(room, message),
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    expel: (match, reason) => router.disconnect(match, CLOSE.unauthorized, reason),
    dropRoom(room) {
      router.disconnect((peer) => peer.room === room, CLOSE.restarting, "the room's session ended");
    },
    stop: () => (stopped ??= stop()),
  };
}

// A scripted peer on a real WebSocket, and a hub's signaling behind a real HTTP server, for tests.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type HubToPeer,
  PROTOCOL_VERSION,
  type PeerToHub,
  type Role,
  type RoomId,
  WaybillError,
  signalingPath,
} from "@waybill/sdk/protocol";
import { WebSocket } from "ws";
import { silentLog } from "../log.ts";
import { type Signaling, type SignalingDeps, createSignaling } from "./signaling.ts";

const LAB = "lab" as RoomId;
const WORKER = {
  capabilities: {
    kind: "desktop",
    platform: "linux",
    arch: "x64",
    cpus: 4,
    memoryBytes: 8e9,
    gpus: [],
    trainers: [],
    commands: true,
    labels: {},
    slots: 1,
    version: "0.0.0",
  },
  jobs: [],
} as const satisfies Extract<PeerToHub, { type: "hello" }>["worker"];

type Hello = Extract<PeerToHub, { type: "hello" }>;

export function helloOf(role: Role, over: Partial<Hello> = {}): Hello {
  return {
    type: "hello",
    protocol: PROTOCOL_VERSION,
    token: role,
    proof: "proof",
    publicKey: "k".repeat(43),
    instance: role,
    name: role,
    ...(role === "worker" ? { worker: { ...WORKER, jobs: [] } } : {}),
    ...over,
  };
}

/** The token is the role; `refused`, `away` and `slow` are not. */
export const authenticateByRole: SignalingDeps["authenticateHello"] = async (room, hello) => {
  if (hello.token === "refused") throw new WaybillError("unauthorized", "token is not ours");
  if (hello.token === "away") throw new WaybillError("storage_failed", "store is away");
  return {
    caller: { room, role: hello.token as Role, subject: "t".repeat(43), tokenId: "t" },
    thumbprint: "t".repeat(43),
  };
};

class SocketPeer {
  readonly ws: WebSocket;
  readonly received: HubToPeer[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  #waiting: (() => void)[] = [];

  constructor(url: string) {
    this.ws = new WebSocket(url);
    this.ws.on("message", (data: Buffer) => {
      this.received.push(JSON.parse(data.toString("utf8")));
      for (const wake of this.#waiting.splice(0)) wake();
    });
    this.ws.on("error", () => {});
    this.closed = new Promise((resolve) => {
      this.ws.on("close", (code, reason) => {
        resolve({ code, reason: reason.toString("utf8") });
        for (const wake of this.#waiting.splice(0)) wake();
      });
    });
  }

  async open(): Promise<this> {
    await once(this.ws, "open");
    return this;
  }

  say(message: PeerToHub | Record<string, unknown>): void {
    this.ws.send(JSON.stringify(message));
  }

  /** The first message of a type, from those that came or that will come. */
  async next<T extends HubToPeer["type"]>(
    type: T,
    match: (message: Extract<HubToPeer, { type: T }>) => boolean = () => true,
  ): Promise<Extract<HubToPeer, { type: T }>> {
    for (;;) {
      const index = this.received.findIndex(
        (each) => each.type === type && match(each as Extract<HubToPeer, { type: T }>),
      );
      const [found] = index < 0 ? [] : this.received.splice(index, 1);
      if (found !== undefined) return found as Extract<HubToPeer, { type: T }>;
      if (this.ws.readyState === WebSocket.CLOSED) throw new Error(`closed before ${type} came`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

export type SignalingSetup = AsyncDisposable & {
  readonly signaling: Signaling;
  connect(room?: RoomId): Promise<SocketPeer>;
  join(role: Role, over?: Partial<Hello>, room?: RoomId): Promise<SocketPeer>;
};

/** Signaling on a free port of the loopback. */
export async function startSignaling(over: Partial<SignalingDeps> = {}): Promise<SignalingSetup> {
  const signaling = createSignaling({
    authenticateHello: authenticateByRole,
    clock: Date.now,
    log: silentLog,
    hubVersion: "0.0.0",
    ...over,
  });
  const server = createServer();
  server.on("upgrade", (request, socket, head) => {
    const room = /^\/v1\/rooms\/([^/]+)\/signal$/.exec(request.url ?? "")?.[1] ?? "";
    signaling.upgrade(request, socket, head, room as RoomId);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const peers: SocketPeer[] = [];
  const connect = async (room = LAB) => {
    const peer = new SocketPeer(`ws://127.0.0.1:${port}${signalingPath(room)}`);
    peers.push(peer);
    return peer.open();
  };
  return {
    signaling,
    connect,
    async join(role, hello = {}, room = LAB) {
      const peer = await connect(room);
      peer.say(helloOf(role, hello));
      return peer;
    },
    async [Symbol.asyncDispose]() {
      for (const peer of peers) peer.ws.terminate();
      await signaling.stop();
      server.closeAllConnections();
      server.close();
    },
  };
}

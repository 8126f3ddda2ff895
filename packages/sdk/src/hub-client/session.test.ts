import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type WebSocket as HubSocket, WebSocketServer } from "ws";
import { CLOSE, LIMITS, PROTOCOL_VERSION, PeerId, RoomId } from "../protocol/index.ts";
import * as v from "valibot";
import type { Credential } from "./http.ts";
import { type SessionInit, type SignalingSession, createSession } from "./session.ts";

const room = v.parse(RoomId, "lab");
const peerId = v.parse(PeerId, "p_aaaaaaaaaaaaaaaa_a1");
const credential: Credential = {
  token: "secret-token",
  identity: {
    publicKey: "x".repeat(43),
    thumbprint: "t",
    proof: async ({ method, path, token }) => `${method} ${path} ${token}`,
    sign: async () => ({ protected: "", signature: "" }),
  },
};
const welcome = {
  type: "welcome",
  protocol: PROTOCOL_VERSION,
  version: "0.1.0",
  peerId,
  room,
  role: "member",
  peers: [],
  iceServers: [],
  keepAliveMs: 15_000,
};

/** A hub that says what the test tells it to. */
class ScriptedHub {
  #server: WebSocketServer | undefined;
  port = 0;
  readonly heard: { type: string; [key: string]: unknown }[] = [];
  readonly paths: string[] = [];
  sockets: HubSocket[] = [];
  onHello: (socket: HubSocket) => void = (socket) => socket.send(JSON.stringify(welcome));

  async listen(): Promise<void> {
    const server = new WebSocketServer({ host: "127.0.0.1", port: this.port });
    this.#server = server;
    server.on("connection", (socket, request) => {
      this.paths.push(request.url ?? "");
      this.sockets.push(socket);
      socket.on("message", (data: Buffer) => {
        const message: ScriptedHub["heard"][number] = JSON.parse(data.toString());
        this.heard.push(message);
        if (message.type === "hello") this.onHello(socket);
      });
    });
    await once(server, "listening");
    this.port = (server.address() as AddressInfo).port;
  }

  /** As SIGKILL does it: no closing frames. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.sockets.splice(0)) socket.terminate();
    if (server === undefined) return;
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

/** Time that passes when the test says so. */
class ManualClock {
  #nowMs = 0;
  #timers: { atMs: number; run: () => void }[] = [];

  now(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    const due = this.#timers.filter(({ atMs }) => atMs <= this.#nowMs);
    this.#timers = this.#timers.filter(({ atMs }) => atMs > this.#nowMs);
    for (const { run } of due) run();
  }
}

let hub: ScriptedHub;
let session: SignalingSession;
const make = (extra: Partial<SessionInit> = {}) => {
  const url = `http://127.0.0.1:${hub.port}`;
  session = createSession({
    hub: { url, credential },
    room,
    name: "laptop",
    instance: "a1",
    random: () => 0,
    ...extra,
  });
  return session;
};
const next = (name: Parameters<SignalingSession["on"]>[0]) =>
  new Promise<unknown>((resolve) => {
    const off = session.on(name, (event) => {
      off();
      resolve(event);
    });
  });

beforeEach(async () => {
  hub = new ScriptedHub();
  await hub.listen();
});
afterEach(async () => {
  const stopping = session.stop();
  await hub.kill();
  await stopping;
});

describe("a signaling session", () => {
  it("says hello with its proof and opens on welcome", async () => {
    make().start();
    const opened = await session.waitUntilOpen();
    expect(opened.peerId).toBe(peerId);
    expect(session.online).toBe(true);
    expect(hub.paths).toEqual(["/v1/rooms/lab/signal"]);
    expect(hub.heard[0]).toMatchObject({
      type: "hello",
      protocol: PROTOCOL_VERSION,
      token: "secret-token",
      proof: "GET /v1/rooms/lab/signal secret-token",
      instance: "a1",
      name: "laptop",
    });
  });

  it("gives the hub's messages to listeners of their name and drops what it cannot read", async () => {
    make().start();
    await session.waitUntilOpen();
    const problem = next("problem");
    const changed = next("job.changed");
    const job = "j_0123456789abcdef";
    hub.sockets[0]?.send(JSON.stringify({ type: "of a newer hub" }));
    hub.sockets[0]?.send(
      JSON.stringify({ type: "job.changed", job, state: "running", attempt: 1 }),
    );
    expect(await problem).toMatchObject({ code: "invalid_request" });
    expect(await changed).toMatchObject({ job, state: "running" });
    expect(session.online).toBe(true);
  });

  it("comes back after the hub was killed and started again", async () => {
    make().start();
    await session.waitUntilOpen();
    const closed = next("closed");
    await hub.kill();
    await closed;
    expect(session.online).toBe(false);
    expect(() => session.send({ type: "command.ack", id: "c", stage: "received" })).toThrow(
      /not connected/,
    );
    await hub.listen();
    await session.waitUntilOpen();
    expect(hub.heard.filter(({ type }) => type === "hello")).toHaveLength(2);
  });

  it("tells a new hub the worker's jobs of that moment", async () => {
    const jobs: { job: never; attempt: number }[] = [];
    const worker = () => ({ capabilities: capabilities(), jobs: [...jobs] });
    make({ worker }).start();
    await session.waitUntilOpen();
    jobs.push({ job: "j_0123456789abcdef" as never, attempt: 3 });
    const again = next("welcome");
    hub.sockets[0]?.close(CLOSE.restarting, "restarting");
    await again;
    expect(hub.heard.at(-1)).toMatchObject({ worker: { jobs: [{ attempt: 3 }] } });
  });

  it("stops when the hub refuses it, and says why", async () => {
    hub.onHello = (socket) => socket.close(CLOSE.unauthorized, "token expired");
    make().start();
    const failed = next("failed");
    await expect(session.waitUntilOpen()).rejects.toMatchObject({
      code: "unauthorized",
      message: expect.stringContaining("token expired"),
    });
    expect(await failed).toMatchObject({ code: "unauthorized" });
    expect(session.phase).toBe("failed");
    await expect(session.waitUntilOpen()).rejects.toMatchObject({ code: "unauthorized" });
  });

  it("fails with a hint when there is no token", async () => {
    make({ hub: { url: `http://127.0.0.1:${hub.port}`, credential: undefined } }).start();
    await expect(session.waitUntilOpen()).rejects.toMatchObject({ code: "unauthorized" });
  });

  it("refuses a frame over the limit before it is sent", async () => {
    make().start();
    await session.waitUntilOpen();
    const data = { type: "x", line: "é".repeat(LIMITS.signalingFrameBytes / 2) };
    expect(() => session.send({ type: "relay", to: peerId, data })).toThrow(/frame limit/);
  });

  it("stops waiting when its signal is aborted, and ends what waits when stopped", async () => {
    hub.onHello = () => undefined;
    make().start();
    const signal = AbortSignal.abort();
    await expect(session.waitUntilOpen({ signal })).rejects.toMatchObject({ name: "AbortError" });
    const waiting = session.waitUntilOpen().catch((error: unknown) => error);
    await session.stop();
    expect(await waiting).toMatchObject({ code: "unreachable" });
    await session.stop();
  });

  it("pings, and reconnects when nothing is heard for 5 s then", async () => {
    const clock = new ManualClock();
    make({ clock }).start();
    await session.waitUntilOpen();
    const pong = () =>
      new Promise<void>((resolve) => {
        hub.sockets[0]?.once("message", () => {
          hub.sockets[0]?.send(JSON.stringify({ type: "pong", t: 1 }));
          // Its answer says that what was sent before has been read.
          hub.sockets[0]?.once("pong", () => resolve());
          hub.sockets[0]?.ping();
        });
      });
    for (const restMs of [7500, 2500]) {
      const answered = pong();
      clock.advance(restMs);
      clock.advance(10);
      await answered;
      clock.advance(4990);
    }
    expect(session.online).toBe(true);
    const closed = next("closed");
    const again = next("welcome");
    clock.advance(2500);
    await vi.waitFor(() => expect(session.bufferedBytes).toBe(0));
    clock.advance(5000);
    expect(session.online).toBe(false);
    expect(await closed).toMatchObject({ reason: expect.stringContaining("nothing heard") });
    clock.advance(600);
    await again;
    expect(hub.heard.map(({ type }) => type)).toEqual(["hello", "ping", "ping", "ping", "hello"]);
  });

  it("relays over loopback without delay of its own", async () => {
    make().start();
    await session.waitUntilOpen();
    const socket = hub.sockets[0];
    socket?.on("message", (data: Buffer) => {
      const message: { type: string; data: unknown } = JSON.parse(data.toString());
      if (message.type !== "relay") return;
      const answer = { type: "relay", from: peerId, role: "member", name: "n" };
      socket.send(JSON.stringify({ ...answer, data: message.data }));
    });
    for (let i = 0; i < 20; i++) {
      const answer = next("relay");
      session.send({ type: "relay", to: peerId, data: { i } });
      expect(await answer).toMatchObject({ data: { i } });
    }
  });
});

function capabilities() {
  return {
    kind: "desktop" as const,
    platform: "linux",
    arch: "x64",
    cpus: 1,
    memoryBytes: 1,
    gpus: [],
    trainers: [],
    commands: true,
    labels: {},
    slots: 1,
    version: "0.1.0",
  };
}

import { type Socket, connect } from "node:net";
import { once } from "node:events";
import { afterEach, describe, expect, it, vi } from "vitest";
import { encodeCommand, encodeGreeting, encodeMessage, encodeReady } from "./frames.ts";
import { Listener, type ListenerInit } from "./listener.ts";

const listeners: Listener[] = [];
const sockets: Socket[] = [];
const WAIT = { timeout: 5000, interval: 5 };

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const listener of listeners.splice(0)) await listener.stop();
});

async function listen(init: Omit<ListenerInit, "port">): Promise<Listener> {
  const listener = new Listener({ port: 0, ...init });
  listeners.push(listener);
  await listener.start();
  return listener;
}

/** A peer that has said all a peer says first; `heard()` is what came back after the handshake. */
async function peer(listener: Listener, type: "PUB" | "SUB", ...rest: Buffer[]) {
  const socket = connect(listener.port, "127.0.0.1");
  sockets.push(socket);
  await once(socket, "connect");
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.on("error", () => undefined);
  socket.write(Buffer.concat([encodeGreeting(), encodeReady(type), ...rest]));
  const handshake = 64 + encodeReady(type).length;
  return { socket, heard: () => Buffer.concat(chunks).subarray(handshake).toString("hex") };
}

const subscribe = encodeMessage(Buffer.from([1]));

describe("a bound SUB socket", () => {
  it("subscribes to everything a publisher that connects has", async () => {
    const listener = await listen({ type: "SUB" });
    const { heard } = await peer(listener, "PUB");
    await vi.waitFor(() => expect(heard()).toBe("000101"), WAIT);
  });

  it("takes messages one after the other, those sent before the end included", async () => {
    const taken: string[] = [];
    const listener = await listen({
      type: "SUB",
      onMessage: async (body) => {
        await new Promise(setImmediate);
        taken.push(body.toString());
      },
    });
    const texts = Array.from({ length: 200 }, (_, i) => `{"batch":${i}}`);
    const messages = texts.map((text) => encodeMessage(Buffer.from(text)));
    const { socket } = await peer(listener, "PUB", ...messages);
    await once(socket, "data");
    socket.end();
    await vi.waitFor(() => expect(taken.length).toBeGreaterThan(0), WAIT);
    await listener.drained(5000);
    expect(taken).toEqual(texts);
  });

  it("answers a heartbeat", async () => {
    const listener = await listen({ type: "SUB" });
    const ping = encodeCommand("PING", Buffer.from([0, 9, 1, 2, 3]));
    const { heard } = await peer(listener, "PUB", ping);
    const pong = encodeCommand("PONG", Buffer.from([1, 2, 3])).toString("hex");
    await vi.waitFor(() => expect(heard()).toBe(`000101${pong}`), WAIT);
  });

  it("closes the connection of what is no ZeroMQ peer and goes on with others", async () => {
    const onRefused = vi.fn<NonNullable<ListenerInit["onRefused"]>>();
    const onMessage = vi.fn<(body: Buffer) => void>();
    const listener = await listen({ type: "SUB", onRefused, onMessage });
    const socket = connect(listener.port, "127.0.0.1");
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.resume();
    socket.write("GET / HTTP/1.1\r\n\r\n");
    await once(socket, "close");
    await vi.waitFor(() => expect(onRefused).toHaveBeenCalledOnce(), WAIT);
    await peer(listener, "PUB", encodeMessage(Buffer.from("{}")));
    await vi.waitFor(() => expect(onMessage).toHaveBeenCalledOnce(), WAIT);
  });
});

describe("a bound PUB socket", () => {
  it("sends to those that have subscribed, by message or by command, now and later", async () => {
    const listener = await listen({ type: "PUB" });
    const first = await peer(listener, "SUB", subscribe);
    await vi.waitFor(() => expect(listener.heard).toBe(true), WAIT);
    listener.publish(Buffer.from("stop"));
    const later = await peer(listener, "SUB", encodeCommand("SUBSCRIBE", Buffer.alloc(0)));
    const message = encodeMessage(Buffer.from("stop")).toString("hex");
    await vi.waitFor(() => expect(first.heard()).toBe(message), WAIT);
    await vi.waitFor(() => expect(later.heard()).toBe(message), WAIT);
  });

  it("is heard by nobody before and after that", async () => {
    const listener = await listen({ type: "PUB" });
    const { socket } = await peer(listener, "SUB");
    await once(socket, "data");
    expect(listener.heard).toBe(false);
    socket.write(subscribe);
    await vi.waitFor(() => expect(listener.heard).toBe(true), WAIT);
    socket.destroy();
    await vi.waitFor(() => expect(listener.heard).toBe(false), WAIT);
  });
});

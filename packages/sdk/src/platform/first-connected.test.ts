import { once } from "node:events";
import * as net from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { firstConnected } from "./first-connected.node.ts";

/** A socket that is never answered, as behind a link that is away. */
const unanswered = () => new net.Socket();
const inWords = (cause: unknown) => new Error(cause === undefined ? "no answer" : "refused");

describe("a connection as soon as the link allows one", () => {
  const signal = undefined;
  let server: net.Server | undefined;

  afterEach(() => {
    vi.useRealTimers();
    server?.close();
  });

  async function listen(): Promise<number> {
    server = net.createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as net.AddressInfo).port;
  }

  it("is the first of sockets that set out a second apart, four at most; the others are given up", async () => {
    const port = await listen();
    vi.useFakeTimers();
    const opened: net.Socket[] = [];
    const open = () => {
      const socket = opened.length === 2 ? net.connect(port, "127.0.0.1") : unanswered();
      opened.push(socket);
      return socket;
    };
    const connecting = firstConnected({ open, timeoutMs: 10_000, signal, inWords });
    expect(opened).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(opened).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1000);
    const socket = await connecting;
    expect(socket).toBe(opened[2]);
    expect(opened.map(({ destroyed }) => destroyed)).toEqual([true, true, false]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(opened).toHaveLength(3);
    expect([socket.listenerCount("connect"), socket.listenerCount("error")]).toEqual([0, 0]);
    socket.destroy();
  });

  it("outlasts a later socket's failure, but not the first one's refusal", async () => {
    vi.useFakeTimers();
    const opened: net.Socket[] = [];
    const open = () => {
      const socket = unanswered();
      opened.push(socket);
      return socket;
    };
    const connecting = firstConnected({ open, timeoutMs: 10_000, signal, inWords });
    await vi.advanceTimersByTimeAsync(1000);
    opened[1]?.emit("error", new Error("EAI_AGAIN"));
    await vi.advanceTimersByTimeAsync(500);
    opened[0]?.emit("connect");
    expect(await connecting).toBe(opened[0]);
    expect(vi.getTimerCount()).toBe(0);
    const refused = firstConnected({ open, timeoutMs: 10_000, signal, inWords });
    await vi.advanceTimersByTimeAsync(1000);
    opened[2]?.emit("error", new Error("ECONNREFUSED"));
    await expect(refused).rejects.toThrow("refused");
    expect(opened.slice(2).map(({ destroyed }) => destroyed)).toEqual([true, true]);
  });

  it("is given up in time, with all that set out for it", async () => {
    vi.useFakeTimers();
    const opened: net.Socket[] = [];
    const open = () => {
      const socket = unanswered();
      opened.push(socket);
      return socket;
    };
    const connecting = firstConnected({ open, timeoutMs: 10_000, signal, inWords });
    const [outcome] = await Promise.all([
      connecting.catch((error: unknown) => error),
      vi.advanceTimersByTimeAsync(10_000),
    ]);
    expect(outcome).toEqual(new Error("no answer"));
    expect(opened.map(({ destroyed }) => destroyed)).toEqual([true, true, true, true]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is refused at once by a host that refuses, and ends with its signal", async () => {
    const port = await listen();
    server?.close();
    const open = () => net.connect(port, "127.0.0.1");
    await expect(firstConnected({ open, timeoutMs: 10_000, signal, inWords })).rejects.toThrow(
      "refused",
    );
    const stop = new AbortController();
    const opened = unanswered();
    const waiting = firstConnected({
      open: () => opened,
      timeoutMs: 10_000,
      signal: stop.signal,
      inWords,
    });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(opened.destroyed).toBe(true);
    const never = firstConnected({ open, timeoutMs: 10_000, signal: stop.signal, inWords });
    await expect(never).rejects.toThrow("enough");
  });
});

import * as http from "node:http";
import * as net from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { parseRateLimit } from "../timing/index.ts";
import type { ConnectionFacts } from "./byte-transport.ts";
import { type NodeTransportInit, createByteTransport } from "./http.node.ts";
import { bodyOf, listen, namesOf } from "./transport.fixture.ts";

const closers: (() => void)[] = [];

afterEach(() => {
  vi.restoreAllMocks();
  for (const close of closers.splice(0)) close();
});

function open(init: NodeTransportInit = {}) {
  const transport = createByteTransport({ proxy: "none", ...init });
  closers.push(() => transport.close());
  return transport;
}

async function serve(handler: http.RequestListener, host?: string): Promise<number> {
  return listen(http.createServer(handler), closers, host);
}

async function serveRaw(onConnection: (socket: net.Socket) => void): Promise<string> {
  return `http://127.0.0.1:${await listen(net.createServer(onConnection), closers)}/`;
}

const unreachable = expect.objectContaining({ code: "unreachable", retryable: true });

describe("a connection", () => {
  it("tells whether it was used before, since when it is open, and where it leads", async () => {
    const port = await serve((_request, response) => response.end("ok"));
    const seen: ConnectionFacts[] = [];
    const transport = open();
    const before = performance.now();
    for (let time = 0; time < 2; time++) {
      const url = `http://127.0.0.1:${port}/`;
      await bodyOf(await transport.get({ url, onConnection: (facts) => seen.push(facts) }));
    }
    expect(seen.map(({ reused, host }) => [reused, host])).toEqual([
      [false, `127.0.0.1:${port}`],
      [true, `127.0.0.1:${port}`],
    ]);
    expect(seen[0]?.openedAtMs).toBe(seen[1]?.openedAtMs);
    expect(seen[0]?.openedAtMs).toBeGreaterThanOrEqual(before);
  });

  it("is not used again when it is older than asked for", async () => {
    const port = await serve((_request, response) => response.end("ok"));
    const transport = open();
    const reused: boolean[] = [];
    for (const maxConnectionAgeMs of [undefined, 60_000, 0]) {
      const onConnection = (facts: ConnectionFacts) => reused.push(facts.reused);
      const url = `http://127.0.0.1:${port}/`;
      await bodyOf(await transport.get({ url, maxConnectionAgeMs, onConnection }));
    }
    expect(reused).toEqual([false, true, false]);
  });

  it("is not used again after a body that was longer or shorter than it should be", async () => {
    let connections = 0;
    const url = await serveRaw((socket) => {
      connections += 1;
      socket.on("data", () =>
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokand more"),
      );
    });
    const transport = open();
    for (let time = 0; time < 2; time++) {
      expect((await bodyOf(await transport.get({ url }))).toString()).toBe("ok");
    }
    expect(connections).toBe(2);
  });

  it("that ends early says how much is missing", async () => {
    const url = await serveRaw((socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsix by"));
    });
    const reading = bodyOf(await open().get({ url }));
    await expect(reading).rejects.toEqual(unreachable);
    await expect(reading).rejects.toThrow("closed 4 bytes before the end");
  });

  it.each([
    ["two lengths", "content-length: 2\r\ncontent-length: 3\r\n", "two lengths of one body"],
    ["no length", "content-length: two\r\n", 'the length "two"'],
    ["a negative length", "content-length: -2\r\n", 'the length "-2"'],
  ])("with %s is refused", async (_, headers, words) => {
    const url = await serveRaw((socket) => {
      socket.once("data", () => socket.write(`HTTP/1.1 200 OK\r\n${headers}\r\nok`));
    });
    await expect(open().get({ url })).rejects.toThrow(words);
  });

  it("refuses chunk sizes that are none", async () => {
    const url = await serveRaw((socket) => {
      socket.once("data", () =>
        socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello"),
      );
    });
    await expect(bodyOf(await open().get({ url }))).rejects.toThrow("malformed chunked body");
  });

  it("of HTTP/1.0 ends with its answer unless both keep it", async () => {
    let connections = 0;
    const url = await serveRaw((socket) => {
      connections += 1;
      socket.on("data", () => socket.write("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    });
    const transport = open();
    for (let time = 0; time < 2; time++) await bodyOf(await transport.get({ url }));
    expect(connections).toBe(2);
  });
});

describe("connections that are opened for requests to come", () => {
  it("carry them, also those that come while they are being opened, and no others are opened", async () => {
    const sockets = new Set<net.Socket>();
    const server = http.createServer((request, response) => {
      sockets.add(request.socket);
      request.resume();
      request.on("end", () => response.end("ok"));
    });
    let opened = 0;
    server.on("connection", () => (opened += 1));
    const origin = `http://127.0.0.1:${await listen(server, closers)}`;
    const transport = open();
    const put = () => transport.put({ url: `${origin}/x`, body: new Uint8Array(10) });
    transport.warm?.(origin, 2);
    transport.warm?.(origin, 2);
    await Promise.all([put(), put()]);
    expect([opened, sockets.size]).toEqual([2, 2]);
    transport.warm?.(origin, 1);
    await vi.waitFor(() => expect(opened).toBe(3));
    await Promise.all([put(), put(), put()]);
    expect([opened, sockets.size]).toEqual([3, 3]);
  });

  it("end with the transport, every one, and a proxy that is none stops nothing", async () => {
    const sockets = new Set<net.Socket>();
    const server = http.createServer();
    server.on("connection", (socket) => sockets.add(socket));
    const origin = `http://127.0.0.1:${await listen(server, closers)}`;
    const transport = open();
    transport.warm?.(origin, 4);
    await vi.waitFor(() => expect(sockets.size).toBe(4));
    transport.close();
    await vi.waitFor(() => expect([...sockets].every((socket) => socket.closed)).toBe(true));
    vi.stubEnv("ALL_PROXY", "socks5://127.0.0.1:1080");
    vi.stubEnv("NO_PROXY", "");
    const proxied = open({ proxy: "environment" });
    proxied.warm?.("http://store.test", 2);
    await expect(
      proxied.put({ url: "http://store.test/", body: new Uint8Array(1) }),
    ).rejects.toThrow("proxy in the environment");
    vi.unstubAllEnvs();
  });

  it("that fail are forgotten; a request that waits for one heeds its signal", async () => {
    const dead = net.createServer();
    const gone = await listen(dead, []);
    await new Promise((resolve) => dead.close(resolve));
    const transport = open({ lookup: () => undefined });
    const body = new Uint8Array(1);
    transport.warm?.(`http://127.0.0.1:${gone}`, 2);
    await expect(transport.put({ url: `http://127.0.0.1:${gone}/`, body })).rejects.toEqual(
      unreachable,
    );
    // A name that is never resolved.
    transport.warm?.("http://slow.test", 1);
    const stop = new AbortController();
    const waiting = transport.put({ url: "http://slow.test/", body, signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });
});

describe("a body that is put", () => {
  it("goes on after interim answers", async () => {
    const url = await serveRaw((socket) => {
      let bytes = 0;
      socket.on("data", (data) => {
        if (bytes === 0) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        bytes += data.length;
        if (bytes > 2_000_000) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
      });
    });
    const answer = await open().put({ url, body: new Uint8Array(2_000_000) });
    expect(answer.text).toBe("done");
  });

  it("stops at an early refusal, whose words are read, and whose connection is not used again", async () => {
    let connections = 0;
    const url = await serveRaw((socket) => {
      connections += 1;
      // Refuses at the first bytes and reads no more: the body never fits into the kernel's buffers.
      socket.once("data", () => {
        socket.pause();
        socket.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nno, never");
      });
    });
    const transport = open();
    let sent = 0;
    const body = new Uint8Array(64_000_000);
    const onSent = (bytes: number) => (sent += bytes);
    const answer = await transport.put({ url, body, onSent });
    expect([answer.status, answer.text]).toEqual([403, "no, never"]);
    expect(sent).toBeLessThan(body.length);
    await transport.put({ url, body });
    expect(connections).toBe(2);
  });

  it("reads the refusal of a server that then resets the connection", async () => {
    const url = await serveRaw((socket) => {
      socket.once("data", () => {
        socket.pause();
        socket.write("HTTP/1.1 507 Full\r\ncontent-length: 4\r\n\r\nfull", () =>
          socket.resetAndDestroy(),
        );
      });
    });
    const answer = await open().put({ url, body: new Uint8Array(64_000_000) });
    expect([answer.status, answer.text]).toEqual([507, "full"]);
  });

  it("is sent again when the server had closed the kept connection", async () => {
    let requests = 0;
    const url = await serveRaw((socket) => {
      socket.on("data", () => {
        requests += 1;
        if (requests === 2) socket.destroy();
        else socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
      });
    });
    const transport = open();
    for (let time = 0; time < 2; time++) {
      expect((await transport.put({ url, body: new Uint8Array(10) })).text).toBe("ok");
    }
    expect(requests).toBeGreaterThanOrEqual(3);
  });

  it("is not sent again when the kept connection dies later than that takes: the caller learns of it", async () => {
    const now = performance.now.bind(performance);
    let laterMs = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now() + laterMs);
    let requests = 0;
    const url = await serveRaw((socket) => {
      socket.on("data", () => {
        requests += 1;
        if (requests === 1) socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        else {
          laterMs = 2000;
          socket.destroy();
        }
      });
    });
    const transport = open();
    await transport.put({ url, body: new Uint8Array(10) });
    const second = transport.put({ url, body: new Uint8Array(10) });
    await expect(second).rejects.toEqual(unreachable);
    expect(requests).toBe(2);
  });

  it("is not sent again when a fresh connection is closed", async () => {
    let connections = 0;
    const url = await serveRaw((socket) => {
      connections += 1;
      socket.once("data", () => socket.destroy());
    });
    await expect(open().put({ url, body: new Uint8Array(10) })).rejects.toEqual(unreachable);
    expect(connections).toBe(1);
  });
});

describe("the reader's memory", () => {
  const big = Buffer.alloc(5_000_000);
  for (let at = 0; at < big.length; at++) big[at] = (at * 2_654_435_761) >>> 24;

  it("is received into, in order, and never beyond the body", async () => {
    const port = await serve((_request, response) => {
      response.writeHead(200, { "content-length": big.length });
      response.end(big);
    });
    const transport = open();
    for (let time = 0; time < 3; time++) {
      const memory = new Uint8Array(big.length + 1000).fill(7);
      const blocks = 1_000_000;
      // Memory in blocks, the next of which is offered only when the one before was read.
      let at = 0;
      let inPlace = 0;
      let misplaced = 0;
      const into = (from: number) => {
        const end = (Math.floor(at / blocks) + 1) * blocks;
        return from < end ? memory.subarray(from, end) : undefined;
      };
      const answer = await transport.get({ url: `http://127.0.0.1:${port}/`, into });
      for await (const piece of answer.body) {
        if (piece.buffer === memory.buffer) {
          if (piece.byteOffset !== at) misplaced += 1;
          inPlace += piece.length;
        } else memory.set(piece, at);
        at += piece.length;
      }
      expect([at, misplaced]).toEqual([big.length, 0]);
      expect(Buffer.from(memory.subarray(0, at)).equals(big)).toBe(true);
      expect(memory.subarray(at).every((byte) => byte === 7)).toBe(true);
      expect(inPlace).toBeGreaterThan(big.length / 2);
    }
  });
});

describe("limits", () => {
  it("hold all connections of a direction together", async () => {
    const body = new Uint8Array(400_000);
    const port = await serve((request, response) => {
      request.resume();
      request.on("end", () => response.end(request.method === "GET" ? body : "ok"));
    });
    const limits = { up: parseRateLimit("1M"), down: parseRateLimit("1M") };
    const transport = open({ limits });
    const url = `http://127.0.0.1:${port}/`;
    const timed = async (run: () => Promise<unknown>) => {
      const startMs = performance.now();
      await Promise.all([run(), run()]);
      return performance.now() - startMs;
    };
    // 800 kB at 1 MiB a second, less the burst of a tenth of a second and the last piece.
    const up = await timed(() => transport.put({ url, body }));
    const down = await timed(async () => bodyOf(await transport.get({ url })));
    expect(up).toBeGreaterThan(450);
    expect(down).toBeGreaterThan(450);
  });

  it("count bodies that are one slice, and the last slices of others", async () => {
    const port = await serve((request, response) => {
      request.resume();
      request.on("end", () => response.end("ok"));
    });
    const transport = open({ limits: { up: parseRateLimit("1M") } });
    const startMs = performance.now();
    for (let bodies = 0; bodies < 8; bodies++) {
      await transport.put({ url: `http://127.0.0.1:${port}/`, body: new Uint8Array(100_000) });
    }
    expect(performance.now() - startMs).toBeGreaterThan(600);
  });
});

describe("addresses", () => {
  const over6 = async (skip: (why: string) => void) =>
    serve((_request, response) => response.end("six"), "::1").catch(() => {
      skip("this machine has no IPv6 loopback");
      return 0;
    });

  it("of IPv6 are reached as literals", async ({ skip }) => {
    const port = await over6(skip);
    const answer = await open().get({ url: `http://[::1]:${port}/` });
    expect((await bodyOf(answer)).toString()).toBe("six");
  });

  it("of a name that has IPv6 only are found", async ({ skip }) => {
    const port = await over6(skip);
    const transport = open({ lookup: namesOf({ "six.test": ["::1"] }) });
    const answer = await transport.get({ url: `http://six.test:${port}/` });
    expect((await bodyOf(answer)).toString()).toBe("six");
  });

  it("are tried one after the other, so that a dead one does no harm", async () => {
    const port = await serve((_request, response) => response.end("four"));
    const transport = open({ lookup: namesOf({ "both.test": ["::1", "127.0.0.1"] }) });
    const answer = await transport.get({ url: `http://both.test:${port}/` });
    expect((await bodyOf(answer)).toString()).toBe("four");
  });

  it("that nobody knows may be known later, and the name is told", async () => {
    const transport = open({ lookup: namesOf({}) });
    const asked = transport.get({ url: "http://store.test:1/" });
    await expect(asked).rejects.toEqual(unreachable);
    await expect(asked).rejects.toThrow(
      "the name of store.test:1 could not be resolved (ENOTFOUND)",
    );
  });
});

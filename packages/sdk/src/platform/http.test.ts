import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { type Socket, createServer as createTcpServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { ByteTransport, GetAnswer } from "./byte-transport.ts";
import * as browser from "./http.browser.ts";
import * as node from "./http.node.ts";

const closers: (() => void)[] = [];

afterEach(() => {
  for (const close of closers.splice(0)) close();
});

type Serve = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(handler: Serve): Promise<{ url: string; connections: () => number }> {
  const server = createServer(handler);
  let connections = 0;
  server.on("connection", () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: urlOf(server.address()), connections: () => connections };
}

/** A server that speaks bytes, for answers `node:http` would not give. */
async function serveRaw(onConnection: (socket: Socket) => void): Promise<string> {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return urlOf(server.address());
}

function urlOf(address: unknown): string {
  const { port } = Object(address) as { port: number };
  return `http://127.0.0.1:${port}/object?permit=1`;
}

async function bodyOf(answer: GetAnswer): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of answer.body) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

const big = Buffer.alloc(3_000_000, "waybill ");

describe.each([
  ["Node", node.createByteTransport],
  ["browsers", browser.createByteTransport],
])("bulk HTTP in %s", (_, create) => {
  const open = (): ByteTransport => {
    const transport = create();
    closers.push(() => transport.close());
    return transport;
  };

  it("puts a body with its headers and counts what it sent", async () => {
    const seen: { length: number; checksum: unknown }[] = [];
    const { url } = await serve((request, response) => {
      let length = 0;
      request.on("data", (chunk: Buffer) => (length += chunk.length));
      request.on("end", () => {
        seen.push({ length, checksum: request.headers["x-amz-checksum-crc32"] });
        response.writeHead(200, { etag: '"1"' }).end("stored");
      });
    });
    let sent = 0;
    const answer = await open().put({
      url,
      body: big,
      headers: { "x-amz-checksum-crc32": "AAAAAA==" },
      onSent: (bytes) => (sent += bytes),
    });
    expect(seen).toEqual([{ length: big.length, checksum: "AAAAAA==" }]);
    expect(sent).toBe(big.length);
    expect([answer.status, answer.header("ETag"), answer.text]).toEqual([200, '"1"', "stored"]);
  });

  it("gets bodies of known length one after the other", async () => {
    const { url } = await serve((_request, response) =>
      response.writeHead(206, { "content-length": big.length }).end(big),
    );
    const transport = open();
    for (let time = 0; time < 3; time++) {
      const answer = await transport.get({ url, headers: { range: "bytes=0-1" } });
      expect(answer.status).toBe(206);
      expect((await bodyOf(answer)).equals(big)).toBe(true);
    }
  });

  it("gets a chunked body", async () => {
    const { url } = await serve((_request, response) => {
      for (let at = 0; at < big.length; at += 70_001) response.write(big.subarray(at, at + 70_001));
      response.end();
    });
    expect((await bodyOf(await open().get({ url }))).equals(big)).toBe(true);
  });

  it("gets a body that ends with the connection", async () => {
    const url = await serveRaw((socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\nuntil the end"));
    });
    expect((await bodyOf(await open().get({ url }))).toString()).toBe("until the end");
  });

  it("reports a connection that breaks inside a body as unreachable", async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { "content-length": 1000 });
      response.write("half", () => response.destroy());
    });
    const answer = await open().get({ url });
    await expect(bodyOf(answer)).rejects.toMatchObject({ code: "unreachable" });
  });

  it("reports a server that is not there as unreachable", async () => {
    const url = "http://127.0.0.1:9/";
    await expect(open().get({ url })).rejects.toMatchObject({ code: "unreachable" });
    await expect(open().put({ url, body: big })).rejects.toMatchObject({ code: "unreachable" });
  });

  it("gives up on a server that goes silent", async () => {
    const { url } = await serve((request, response) => {
      if (request.method === "GET") response.writeHead(200, { "content-length": 10 }).write("half");
    });
    const answer = await open().get({ url, idleMs: 100 });
    await expect(bodyOf(answer)).rejects.toMatchObject({ code: "timeout" });
    const body = new Uint8Array(10);
    await expect(open().put({ url, body, idleMs: 100 })).rejects.toMatchObject({ code: "timeout" });
  });

  it("stops with the signal's reason while it waits and while it reads", async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { "content-length": 10 }).write("half");
    });
    const abort = new AbortController();
    const answer = await open().get({ url, signal: abort.signal });
    const reading = bodyOf(answer);
    abort.abort();
    await expect(reading).rejects.toMatchObject({ name: "AbortError" });
    const put = open().put({ url, body: big, signal: AbortSignal.abort() });
    await expect(put).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("bulk GET in Node", () => {
  const open = () => {
    const transport = node.createByteTransport();
    closers.push(() => transport.close());
    return transport;
  };

  it("reads heads and chunk sizes that arrive byte by byte, and skips interim answers", async () => {
    const text =
      "HTTP/1.1 100 Continue\r\n\r\n" +
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Odd:  two words \r\n\r\n" +
      "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    const url = await serveRaw((socket) => {
      socket.setNoDelay(true);
      socket.once("data", () => {
        let at = 0;
        const next = () => {
          if (at < text.length) socket.write(text[at++] ?? "", () => setImmediate(next));
        };
        next();
      });
    });
    const answer = await open().get({ url });
    expect(answer.header("x-odd")).toBe("two words");
    expect((await bodyOf(answer)).toString()).toBe("hello world");
  });

  it("uses a connection again when its body was read to the end", async () => {
    const { url, connections } = await serve((_request, response) =>
      response.writeHead(206, { "content-length": big.length }).end(big),
    );
    const transport = open();
    for (let time = 0; time < 3; time++) await bodyOf(await transport.get({ url }));
    expect(connections()).toBe(1);
  });

  it("sends a request again when a kept connection was closed under it", async () => {
    let answers = 0;
    const url = await serveRaw((socket) => {
      socket.on("data", () => {
        answers += 1;
        // The second request on a connection finds it closed, without a byte of an answer.
        if (answers === 2) socket.destroy();
        else socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      });
    });
    const transport = open();
    for (let time = 0; time < 2; time++) {
      expect((await bodyOf(await transport.get({ url }))).toString()).toBe("ok");
    }
    expect(answers).toBe(3);
  });

  it("closes the connection when the reader stops early", async () => {
    const { url, connections } = await serve((_request, response) =>
      response.writeHead(200, { "content-length": big.length }).end(big),
    );
    const transport = open();
    for (let time = 0; time < 2; time++) {
      const answer = await transport.get({ url });
      for await (const piece of answer.body) {
        expect(piece.length).toBeGreaterThan(0);
        break;
      }
    }
    expect(connections()).toBe(2);
  });

  it("refuses what is not HTTP and headers with line breaks", async () => {
    const url = await serveRaw((socket) => socket.write("SSH-2.0-OpenSSH_9.6\r\n"));
    await expect(open().get({ url })).rejects.toMatchObject({ code: "unreachable" });
    const smuggled = { url, headers: { range: "bytes=0-1\r\nx: y" } };
    await expect(open().get(smuggled)).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("takes a refusal that comes before the body was sent", async () => {
    const { url } = await serve((_request, response) =>
      response.writeHead(403, { connection: "close" }).end("<Code>AccessDenied</Code>"),
    );
    const body = Buffer.alloc(20_000_000);
    const answer = await open().put({ url, body });
    expect([answer.status, answer.text]).toEqual([403, "<Code>AccessDenied</Code>"]);
  });
});

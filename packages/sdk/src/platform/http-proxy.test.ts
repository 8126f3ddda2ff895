import { spawn } from "node:child_process";
import * as http from "node:http";
import * as https from "node:https";
import { text } from "node:stream/consumers";
import * as tls from "node:tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type NodeTransportInit, createByteTransport } from "./http.node.ts";
import { useProxiesOfEnvironment } from "./proxy.node.ts";
import { type ProxySeen, bodyOf, listen, proxyServer, selfSigned } from "./transport.fixture.ts";

const closers: (() => void)[] = [];
const trusted = tls.getCACertificates("default");

afterEach(() => {
  for (const close of closers.splice(0)) close();
  vi.unstubAllEnvs();
  tls.setDefaultCACertificates(trusted);
});

function open(init: NodeTransportInit = {}) {
  const transport = createByteTransport(init);
  closers.push(() => transport.close());
  return transport;
}

/** A store that answers with the method and what it was sent. */
const echo: http.RequestListener = (request, response) => {
  let bytes = 0;
  request.on("data", (data: Buffer) => (bytes += data.length));
  request.on("end", () => response.end(`${request.method} ${request.url} ${bytes}`));
};

async function proxied(refuse?: (one: ProxySeen) => number | undefined) {
  const seen: ProxySeen[] = [];
  const proxy = proxyServer(seen, refuse);
  const port = await listen(proxy, closers);
  for (const name of [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "NO_PROXY",
    "ALL_PROXY",
  ]) {
    vi.stubEnv(name, "");
  }
  vi.stubEnv("HTTP_PROXY", `http://me:s3cret@127.0.0.1:${port}`);
  vi.stubEnv("HTTPS_PROXY", `http://me:s3cret@127.0.0.1:${port}`);
  return { seen, port };
}

const authorization = `Basic ${Buffer.from("me:s3cret").toString("base64")}`;

describe("bulk HTTP through a proxy", () => {
  it("asks for the whole URL, with the proxy's credentials, on a connection that is kept", async () => {
    const port = await listen(http.createServer(echo), closers);
    const { seen } = await proxied();
    const transport = open();
    const url = `http://store.test:${port}/object?x=1`;
    const reused: boolean[] = [];
    const onConnection = (facts: { reused: boolean }) => reused.push(facts.reused);
    expect((await bodyOf(await transport.get({ url, onConnection }))).toString()).toBe(
      "GET /object?x=1 0",
    );
    const put = await transport.put({ url, body: new Uint8Array(3_000_000), onConnection });
    expect(put.text).toBe("PUT /object?x=1 3000000");
    expect(seen).toEqual([
      { method: "GET", target: url, authorization },
      { method: "PUT", target: url, authorization },
    ]);
    expect(reused).toEqual([false, true]);
  });

  it("tunnels TLS, which the proxy does not see into", async ({ skip }) => {
    const own = selfSigned(["store.test"]);
    if (own === undefined) return skip("openssl is missing");
    tls.setDefaultCACertificates([...trusted, own.cert]);
    const big = Buffer.alloc(3_000_000, "waybill ");
    const secure = https.createServer(own, (request, response) => {
      if (request.url === "/big") response.end(big);
      else echo(request, response);
    });
    const port = await listen(secure, closers);
    const { seen } = await proxied();
    const transport = open();
    const url = `https://store.test:${port}`;
    const memory = new Uint8Array(big.length);
    const got = await bodyOf(
      await transport.get({ url: `${url}/big`, into: (at) => memory.subarray(at) }),
    );
    expect(got.equals(big)).toBe(true);
    expect((await transport.put({ url: `${url}/x`, body: new Uint8Array(10) })).text).toBe(
      "PUT /x 10",
    );
    expect(seen).toEqual([{ method: "CONNECT", target: `store.test:${port}`, authorization }]);
  });

  it("goes around it for exempt hosts, for this machine, and when told to", async () => {
    const port = await listen(http.createServer(echo), closers);
    const { seen } = await proxied();
    const url = `http://127.0.0.1:${port}/`;
    expect((await bodyOf(await open().get({ url }))).toString()).toBe("GET / 0");
    const none = open({ proxy: "none" });
    await expect(none.get({ url: "http://store.invalid/" })).rejects.toMatchObject({
      code: "unreachable",
    });
    expect(seen).toEqual([]);
  });

  it("names the proxy that is not there, refuses, or wants credentials, and no secret", async () => {
    await proxied((one) => (one.target.startsWith("http://teapot") ? undefined : 407));
    const wants = open().get({ url: "https://store.test/" });
    await expect(wants).rejects.toMatchObject({ code: "forbidden" });
    await expect(open().get({ url: "http://store.test/" })).rejects.toThrow(
      /proxy 127.0.0.1:\d+ asks for credentials/,
    );
    const { port } = await proxied(() => 403);
    const refused = open().put({ url: "https://store.test/", body: new Uint8Array(1) });
    await expect(refused).rejects.toThrow(
      `proxy 127.0.0.1:${port} refused to connect to store.test (403)`,
    );
    vi.stubEnv("HTTPS_PROXY", "http://me:s3cret@127.0.0.1:9");
    const gone = open().get({ url: "https://store.test/" });
    await expect(gone).rejects.toMatchObject({
      code: "unreachable",
      message: expect.stringMatching(/^proxy 127\.0\.0\.1:9 for store\.test: .*ECONNREFUSED/),
      hint: expect.stringContaining("NO_PROXY"),
    });
    await expect(gone).rejects.not.toThrow("s3cret");
  });
});

describe("fetch and WebSocket through a proxy", () => {
  it("are refused by one that is no HTTP proxy, in words that hold no password", () => {
    const use = () => useProxiesOfEnvironment({ HTTPS_PROXY: "ftp://me:s3cret@far.test" });
    expect(use).toThrow("the proxy in the environment is not an HTTP proxy");
    expect(() => useProxiesOfEnvironment({ http_proxy: "http://[bad" })).toThrow("not an HTTP");
  });

  it("are switched on for a whole program", async () => {
    const server = http.createServer(echo);
    server.on("upgrade", (_request, socket) => socket.end("HTTP/1.1 400 No\r\n\r\n"));
    const port = await listen(server, closers);
    const { seen } = await proxied();
    const program = `
      import { useProxiesOfEnvironment } from ${JSON.stringify(new URL("./proxy.node.ts", import.meta.url).href)};
      const can = useProxiesOfEnvironment();
      const far = await (await fetch("http://hub.test:${port}/v1")).text();
      const own = await (await fetch("http://127.0.0.1:${port}/own")).text();
      const socket = new WebSocket("ws://hub.test:${port}/ws");
      await new Promise((resolve) => socket.addEventListener("close", resolve));
      console.log(JSON.stringify([can, far, own]));`;
    const options = ["--conditions=@waybill/source", "--input-type=module", "-e", program];
    const child = spawn(process.execPath, options, { stdio: ["ignore", "pipe", "inherit"] });
    const output = await text(child.stdout);
    expect(JSON.parse(output)).toEqual([true, "GET /v1 0", "GET /own 0"]);
    expect(seen.map(({ method, target }) => `${method} ${target}`)).toEqual([
      `CONNECT hub.test:${port}`,
      `CONNECT hub.test:${port}`,
    ]);
    expect(seen.every((one) => one.authorization === authorization)).toBe(true);
  });
});

describe("TLS", () => {
  it("that proves nothing is refused for good, in words", async ({ skip }) => {
    const own = selfSigned(["other.test"]);
    if (own === undefined) return skip("openssl is missing");
    const port = await listen(https.createServer(own, echo), closers);
    const url = `https://127.0.0.1:${port}/`;
    const stranger = open().get({ url });
    await expect(stranger).rejects.toMatchObject({ code: "forbidden", retryable: false });
    await expect(stranger).rejects.toThrow(`no trusted TLS with 127.0.0.1:${port}`);
    tls.setDefaultCACertificates([...trusted, own.cert]);
    await expect(open().get({ url })).rejects.toThrow("no trusted TLS");
  });

  it("is missed clearly where the server speaks plain HTTP", async () => {
    const port = await listen(http.createServer(echo), closers);
    const asked = open().get({ url: `https://127.0.0.1:${port}/` });
    await expect(asked).rejects.toMatchObject({ code: "forbidden" });
  });

  it("receives into the reader's memory and keeps its connection", async ({ skip }) => {
    const own = selfSigned(["127.0.0.1"]);
    if (own === undefined) return skip("openssl is missing");
    tls.setDefaultCACertificates([...trusted, own.cert]);
    const big = Buffer.alloc(2_000_000, "bytes of a shard ");
    const server = https.createServer(own, (_request, response) => response.end(big));
    let connections = 0;
    server.on("secureConnection", () => (connections += 1));
    const port = await listen(server, closers);
    const transport = open();
    for (let time = 0; time < 3; time++) {
      const memory = new Uint8Array(big.length);
      const answer = await transport.get({
        url: `https://127.0.0.1:${port}/`,
        into: (at) => memory.subarray(at),
      });
      let at = 0;
      for await (const piece of answer.body) {
        if (piece.buffer !== memory.buffer) memory.set(piece, at);
        at += piece.length;
      }
      expect(Buffer.from(memory).equals(big)).toBe(true);
    }
    expect(connections).toBe(1);
  });
});

// docs/protocol/data-server.md §1: what is given, to whom, and what is not; and how a push is served (arriving.md §4).
import { mkdtemp, mkdir, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { type Socket, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { artifactId, decodeManifest, manifestObjects, scanTree } from "@waybill/sdk/artifact";
import { helloProof } from "@waybill/sdk/client";
import { ArtifactName, type Layout, decodeValue } from "@waybill/sdk/protocol";
import { RateGate, parseRateLimit } from "@waybill/sdk/timing";
import { hashTree } from "@waybill/sdk/transfer";
import { afterEach, describe, expect, it } from "vitest";
import { addressesOf } from "./addresses.ts";
import { parseRange } from "./byte-range.ts";
import { pushedTree } from "./pushed-tree.ts";
import { type DataServerInit, startDataServer } from "./data-server.ts";
import { TreeObjects } from "./tree-objects.ts";

const endings: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end();
});

const big = Buffer.from(Array.from({ length: 700_000 }, (_, at) => (at * 7 + (at >> 8)) & 255));

async function setup(options: Omit<DataServerInit, "trees"> & { readonly layout?: Layout } = {}) {
  const root = await mkdtemp(join(tmpdir(), "waybill-data-"));
  endings.push(() => rm(root, { recursive: true }));
  const tree = join(root, "tree");
  await mkdir(join(tree, "sub"), { recursive: true });
  await writeFile(join(tree, "big.bin"), big);
  await writeFile(join(tree, "empty"), "");
  await writeFile(join(tree, "sub", "ä b#c.txt"), "hello");
  await writeFile(join(root, "secret.txt"), "secret");
  const scan = await scanTree(tree);
  const name = decodeValue(ArtifactName, "tree", "name");
  const { manifest } = await hashTree(scan, { name });
  const { layout = "plain", ...init } = options;
  const laidOut = { ...manifest, layout };
  const objects = new TreeObjects({ scan, manifest: laidOut });
  const artifact = artifactId(laidOut);
  const trees = pushedTree(artifact, { manifest: laidOut, objects });
  const listen = { host: "127.0.0.1" };
  const server = await startDataServer({ trees, announced: artifact, listen, ...init });
  endings.push(() => server.stop());
  const { url, token } = server.addresses[0] ?? { url: "", token: "" };
  const get = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    fetch(url + path, { method, headers: { authorization: `Bearer ${token}`, ...headers } });
  return { tree, scan, server, url, token, get, manifest, artifact };
}

/** A server of one big file as it is now. */
async function serving(tree: string) {
  const scan = await scanTree(tree);
  const { manifest } = await hashTree(scan, { name: decodeValue(ArtifactName, "tree", "name") });
  const announced = artifactId(manifest);
  const trees = pushedTree(announced, { manifest, objects: new TreeObjects({ scan, manifest }) });
  const server = await startDataServer({ trees, announced, listen: { host: "127.0.0.1" } });
  const { url, token } = server.addresses[0] ?? { url: "", token: "" };
  return {
    url,
    token,
    get servedBytes() {
      return server.servedBytes;
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

async function bytesOf(response: Response): Promise<Buffer> {
  return Buffer.from(await response.arrayBuffer());
}

/** Connections that say nothing; `closed` resolves when the server has ended one. */
async function idleConnections(url: string, count: number) {
  const { hostname, port } = new URL(url);
  const sockets: { readonly socket: Socket; readonly closed: Promise<unknown> }[] = [];
  for (let at = 0; at < count; at++) {
    const socket = connect({ host: hostname, port: Number(port) });
    socket.on("error", () => undefined);
    endings.push(async () => socket.destroy());
    sockets.push({ socket, closed: new Promise((resolve) => socket.once("close", resolve)) });
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.resume();
  }
  return sockets;
}

describe("a data server", () => {
  it("serves each object whole and in ranges, with a strong etag", async () => {
    const { get, manifest, server } = await setup();
    expect(manifestObjects(manifest).map(({ key }) => key)).toContain("sub/ä b#c.txt");
    const whole = await get("/objects/big.bin");
    expect(whole.status).toBe(200);
    expect(whole.headers.get("content-length")).toBe(String(big.length));
    expect((await bytesOf(whole)).equals(big)).toBe(true);
    const part = await get("/objects/big.bin", { range: "bytes=300000-599999" });
    expect(part.status).toBe(206);
    expect(part.headers.get("content-range")).toBe(`bytes 300000-599999/${big.length}`);
    expect(part.headers.get("etag")).toBe(whole.headers.get("etag"));
    expect(part.headers.get("etag")).toMatch(/^"[0-9a-f]{32}"$/);
    expect((await bytesOf(part)).equals(big.subarray(300_000, 600_000))).toBe(true);
    expect(await (await get("/objects/sub/%C3%A4%20b%23c.txt")).text()).toBe("hello");
    expect(await (await get("/objects/empty")).text()).toBe("");
    expect(server.servedBytes).toBe(big.length + 300_000 + 5);
  });

  it("serves the pack of a tree as if it was stored", async () => {
    const { get, scan } = await setup({ layout: "packed" });
    const pack = Buffer.concat([big, Buffer.from("hello")]);
    expect(scan.files.map(({ path }) => path)).toEqual(["big.bin", "empty", "sub/ä b#c.txt"]);
    expect((await bytesOf(await get("/objects/pack.bin"))).equals(pack)).toBe(true);
    const across = await get("/objects/pack.bin", { range: `bytes=${big.length - 3}-` });
    expect((await bytesOf(across)).equals(pack.subarray(-8))).toBe(true);
    expect((await get("/objects/big.bin")).status).toBe(404);
  });

  it("serves what it has by the artifact's id, with its manifest", async () => {
    const { get, artifact, manifest } = await setup();
    const list: unknown = await (await get("/v1/artifacts")).json();
    expect(list).toEqual({ artifacts: [{ artifact, bytes: big.length + 5 }] });
    const document = await get(`/v1/artifacts/${artifact}/artifact.json`);
    expect(decodeManifest(await document.text(), artifact)).toEqual(manifest);
    const object = await get(`/v1/artifacts/${artifact}/objects/sub/%C3%A4%20b%23c.txt`);
    expect(await object.text()).toBe("hello");
    for (const path of ["", "/", "/objects/none", "/objects", "/other"]) {
      expect((await get(`/v1/artifacts/${artifact}${path}`)).status).toBe(404);
    }
    expect((await get(`/v1/artifacts/${"0".repeat(64)}/artifact.json`)).status).toBe(404);
    expect((await get("/v1/artifacts/..%2f/artifact.json")).status).toBe(404);
  });

  it("answers If-None-Match and If-Range by the etag, which another server gives, too", async () => {
    const [one, other] = [await setup(), await setup()];
    const etag = (await one.get("/objects/big.bin", {}, "HEAD")).headers.get("etag") ?? "";
    const there = await other.get(`/v1/artifacts/${other.artifact}/objects/big.bin`, {}, "HEAD");
    expect(there.headers.get("etag")).toBe(etag);
    for (const given of [etag, `W/${etag}`, `"x", ${etag}`, "*"]) {
      const same = await one.get("/objects/big.bin", { "if-none-match": given });
      expect(same.status).toBe(304);
    }
    expect((await one.get("/objects/big.bin", { "if-none-match": '"x"' })).status).toBe(200);
    const range = "bytes=0-9";
    const go = await one.get("/objects/big.bin", { range, "if-range": etag });
    expect(go.status).toBe(206);
    const anew = await one.get("/objects/big.bin", { range, "if-range": '"x"' });
    expect(anew.status).toBe(200);
    expect((await bytesOf(anew)).length).toBe(big.length);
  });

  it("answers HEAD without a body", async () => {
    const { get } = await setup();
    const head = await get("/objects/big.bin", {}, "HEAD");
    expect(head.status).toBe(200);
    expect(head.headers.get("content-length")).toBe(String(big.length));
  });

  it.each([
    ["bytes=700000-", 416],
    ["bytes=-0", 416],
    ["bytes=5-4", 200],
    ["bytes=0-1,5-6", 200],
    ["chunks=0-1", 200],
    ["bytes=-5", 206],
    ["bytes=699999-9999999", 206],
  ])("answers the range %s with %i", async (range, status) => {
    const { get } = await setup();
    const answer = await get("/objects/big.bin", { range });
    expect(answer.status).toBe(status);
    const isRefused = status === 416;
    expect(answer.headers.get("content-range") === `bytes */${big.length}`).toBe(isRefused);
    await answer.arrayBuffer();
  });

  it.each([
    ["no token", {}],
    ["an empty token", { authorization: "Bearer " }],
    ["another token", { authorization: `Bearer ${"0".repeat(64)}` }],
    ["the wrong scheme", { authorization: `Digest ${"0".repeat(64)}` }],
    ["another password", { authorization: `Basic ${btoa("waybill:no")}` }],
  ])("refuses %s", async (_, headers) => {
    const { url } = await setup();
    for (const path of ["/objects/big.bin", "/objects/none", "/"]) {
      const answer = await fetch(url + path, { headers });
      expect(answer.status).toBe(401);
      expect(await answer.text()).toBe("");
    }
  });

  it("takes the token as the password of a login, as mirrors send it", async () => {
    const { url, token } = await setup();
    const authorization = `Basic ${btoa(`waybill:${token}`)}`;
    const answer = await fetch(`${url}/objects/empty`, { headers: { authorization } });
    expect(answer.status).toBe(200);
  });

  it.each([
    "/objects/../secret.txt",
    "/objects/..%2fsecret.txt",
    "/objects/%2e%2e/secret.txt",
    "/objects/sub/../big.bin",
    "/objects//big.bin",
    "/objects/%2Fetc%2Fpasswd",
    "/objects/big.bin/",
    "/objects/big.bin%00",
    "/objects/%E0%A4",
    "/objects/",
    "/objects/artifact.json",
    "/big.bin",
  ])("finds nothing at %s", async (path) => {
    const { url, token } = await setup();
    // Not by fetch, which tidies paths up.
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const { hostname, port } = new URL(url);
      const headers = { authorization: `Bearer ${token}` };
      request({ hostname, port, path, headers }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      })
        .on("error", reject)
        .end();
    });
    expect(status).toBe(404);
  });

  it("only reads", async () => {
    const { get } = await setup();
    for (const method of ["PUT", "POST", "DELETE"]) {
      expect((await get("/objects/big.bin", {}, method)).status).toBe(405);
    }
  });

  it("proves who it is before anybody tells it the token", async () => {
    const { url, token } = await setup();
    const nonce = "0123456789abcdef".repeat(2);
    const answer = await fetch(`${url}/hello?nonce=${nonce}`);
    expect(await answer.json()).toEqual({ proof: await helloProof(token, nonce) });
    expect((await fetch(`${url}/hello?nonce=xyz`)).status).toBe(400);
    expect((await fetch(`${url}/hello`)).status).toBe(400);
  });

  it("gives no byte of a file that is not the one that was hashed", async () => {
    const { get, tree } = await setup();
    await writeFile(join(tree, "big.bin"), big.subarray(1));
    expect((await get("/objects/big.bin")).status).toBe(410);
    await utimes(join(tree, "sub", "ä b#c.txt"), 1, 1);
    expect((await get("/objects/sub/%C3%A4%20b%23c.txt")).status).toBe(410);
    await rm(join(tree, "empty"));
    await writeFile(join(tree, "other"), "");
    expect((await get("/objects/other")).status).toBe(404);
  });

  it("bounds its connections", async () => {
    const gate = new RateGate(parseRateLimit("64K"));
    const { get, url } = await setup({ maxRequests: 2, gate });
    const slow = [1, 2].map(async () => get("/objects/big.bin", {}));
    const answers = await Promise.all(slow);
    const refused = await get("/objects/big.bin");
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("1");
    // However busy it is, it says who it is.
    expect((await fetch(`${url}/hello?nonce=${"0".repeat(32)}`)).status).toBe(200);
    await Promise.all(answers.map(async (answer) => answer.body?.cancel()));
    await expect.poll(async () => (await get("/objects/empty")).status).toBe(200);
  });

  it("lets readers wait for their turn, in their order, and tells those beyond to come back", async () => {
    const gate = new RateGate(parseRateLimit("3M"));
    const { get } = await setup({ maxRequests: 1, maxWaiting: 2, gate });
    const first = await get("/objects/big.bin");
    const order: number[] = [];
    const waiting = [1, 2].map(async (at) => {
      const answer = await get("/objects/empty");
      order.push(at);
      return answer.status;
    });
    await expect.poll(async () => (await get("/objects/empty")).status).toBe(503);
    expect((await bytesOf(first)).length).toBe(big.length);
    expect(await Promise.all(waiting)).toEqual([200, 200]);
    expect(order).toEqual([1, 2]);
  });

  it("keeps few idle connections of one address, and serves its readers meanwhile", async () => {
    const { get, url } = await setup({ door: { strangersPerAddress: 4, strangerMs: 60_000 } });
    const idle = await idleConnections(url, 12);
    // The newest four stay; the others are closed by the server.
    await Promise.all(idle.slice(0, 8).map(async ({ closed }) => closed));
    for (let round = 0; round < 3; round++) {
      expect((await get("/objects/empty")).status).toBe(200);
    }
  });

  it("closes connections that do not show the token in time, also in the middle of a request", async () => {
    const { get, url } = await setup({ door: { strangerMs: 50 } });
    const idle = await idleConnections(url, 3);
    idle[0]?.socket.write("GET /objects/big.bin HTTP/1.1\r\nhost: x\r\n");
    await Promise.all(idle.map(async ({ closed }) => closed));
    expect((await get("/objects/empty")).status).toBe(200);
  });

  it("keeps the connection of a reader, and nobody else's", async () => {
    const { get, url } = await setup({ door: { strangerMs: 50 } });
    expect((await get("/objects/empty")).headers.get("connection")).toBe("keep-alive");
    for (const path of [`/hello?nonce=${"0".repeat(32)}`, "/objects/empty"]) {
      expect((await fetch(url + path)).headers.get("connection")).toBe("close");
    }
  });

  it("I3: holds little memory for readers that take nothing, however much they have asked for", async () => {
    const { tree } = await setup();
    const size = 64 * 1024 * 1024;
    await truncate(join(tree, "big.bin"), size);
    await using served = await serving(tree);
    const { port } = new URL(served.url);
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 64 }, () => {
      const socket = connect({ host: "127.0.0.1", port: Number(port) });
      socket.on("error", () => undefined);
      endings.push(async () => socket.destroy());
      socket.write(
        `GET /objects/big.bin HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${served.token}\r\n\r\n`,
      );
      return socket;
    });
    await expect.poll(() => served.servedBytes).toBeGreaterThan(64 * 256 * 1024);
    let last = 0;
    // Until nothing more fits into the sockets.
    await expect
      .poll(
        () => {
          const isStill = served.servedBytes === last;
          last = served.servedBytes;
          return isStill;
        },
        { interval: 250, timeout: 10_000 },
      )
      .toBe(true);
    expect(served.servedBytes).toBeLessThan((64 * size) / 4);
    // A buffer to read into, and a copy of it that the socket holds, each 256 KiB.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 3 * 256 * 1024);
    expect(readers.every(({ destroyed }) => !destroyed)).toBe(true);
  });

  it("shares the push's limit among all readers", async () => {
    const { get } = await setup({ gate: new RateGate(parseRateLimit("1M")) });
    const startMs = performance.now();
    const range = { range: "bytes=0-349999" };
    await Promise.all(
      [get("/objects/big.bin", range), get("/objects/big.bin", range)].map(async (one) =>
        bytesOf(await one),
      ),
    );
    expect(performance.now() - startMs).toBeGreaterThan(450);
  });
});

describe("a range header", () => {
  it("is read as RFC 9110 says", () => {
    expect(parseRange(undefined, 10)).toBeUndefined();
    expect(parseRange("bytes=2-5", 10)).toEqual({ start: 2, end: 6 });
    expect(parseRange("bytes=2-", 10)).toEqual({ start: 2, end: 10 });
    expect(parseRange("bytes=-20", 10)).toEqual({ start: 0, end: 10 });
    expect(parseRange("bytes=0-0", 0)).toBe("unsatisfiable");
    expect(parseRange("bytes=a-b", 10)).toBeUndefined();
  });
});

describe("addresses", () => {
  it("are loopback first, then the network cards', without link-local ones", () => {
    const info = (address: string, family: "IPv4" | "IPv6", internal = false) => ({
      address,
      family,
      internal,
      netmask: "",
      mac: "",
      cidr: null,
      ...(family === "IPv6" ? { scopeid: 0 } : {}),
    });
    const cards = {
      lo: [info("127.0.0.1", "IPv4", true), info("::1", "IPv6", true)],
      eth0: [info("192.0.2.7", "IPv4"), info("fe80::1", "IPv6"), info("2001:db8::7", "IPv6")],
    };
    expect(addressesOf(4711, undefined, cards as Parameters<typeof addressesOf>[2])).toEqual([
      "http://127.0.0.1:4711",
      "http://192.0.2.7:4711",
      "http://[2001:db8::7]:4711",
    ]);
    const only = (host: string) => addressesOf(1, host, cards as Parameters<typeof addressesOf>[2]);
    expect(only("192.0.2.7")).toEqual(["http://192.0.2.7:1"]);
    expect(only("::1")).toEqual(["http://[::1]:1"]);
    expect(only("0.0.0.0")).toEqual(["http://127.0.0.1:1", "http://192.0.2.7:1"]);
  });
});

// docs/protocol/arriving.md §4, §7, §8: whom a reader takes for the pushing machine, and what it asks of it.
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import * as v from "valibot";
import { afterEach, describe, expect, it } from "vitest";
import { ShardMap } from "../../artifact/index.ts";
import { createByteTransport } from "../../platform/index.ts";
import { ArtifactManifest, type DirectAddress, PeerId, decodeValue } from "../../protocol/index.ts";
import { LinkPair, linksOf } from "../../swarm/tree/tree-links.fixture.ts";
import { TreeServer } from "../../swarm/index.ts";
import { LinkBook, type Source } from "../../transfer/index.ts";
import type { ArrivingAccount, ArrivingFeed } from "./arriving-feed.ts";
import type { TreePeers } from "./peer-route.ts";
import { DirectWays } from "./direct-ways.ts";
import { helloProof } from "../../http/index.ts";

const MIB = 1024 * 1024;
const TOKEN = "ab".repeat(32);
/** 256 shards of a MiB. */
const map = new ShardMap(
  v.parse(ArtifactManifest, {
    format: 1,
    name: "tree",
    layout: "plain",
    shardBytes: MIB,
    files: [
      { path: "a", size: 256 * MIB, shards: Array.from({ length: 256 }, () => "0".repeat(64)) },
    ],
  }),
);

const endings: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end();
});

type Seen = { readonly path: string; readonly authorization: string | undefined };

/** A machine that answers hello by `token` and gives zeros; and what it was asked. */
async function machine(token = TOKEN): Promise<{ url: string; seen: Seen[]; server: Server }> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const { url = "", headers } = request;
    seen.push({ path: url, authorization: headers.authorization });
    if (url.startsWith("/hello")) {
      void helloProof(token, url.split("=")[1] ?? "").then((proof) =>
        response.end(JSON.stringify({ proof })),
      );
      return;
    }
    const [, from = 0, to = 0] = /bytes=(\d+)-(\d+)/.exec(headers.range ?? "")?.map(Number) ?? [];
    response.writeHead(206, {
      "content-range": `bytes ${from}-${to}/${256 * MIB}`,
      "content-length": to - from + 1,
      etag: '"x"',
    });
    response.end(Buffer.alloc(to - from + 1));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  endings.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, server };
}

/** Sources over a feed whose account the test sets. */
function waysOf(direct: readonly DirectAddress[], peers?: TreePeers) {
  let account: ArrivingAccount = { done: false, unitBytes: MIB, objects: [], direct, held: false };
  const listeners = new Set<() => void>();
  const feed: Pick<ArrivingFeed, "account" | "onChange"> = {
    get account() {
      return account;
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const transport = createByteTransport({ proxy: "none" });
  const links = new LinkBook();
  const ways = new DirectWays({ map, feed, transport, links, peers });
  const [source, peer, relayed] = ways.sources;
  if (source === undefined) throw new Error("no source");
  endings.push(
    () => transport.close(),
    () => ways.close(),
  );
  const set = (change: Partial<ArrivingAccount>) => {
    account = { ...account, ...change };
    for (const listener of listeners) listener();
  };
  const ready = async () => {
    await expect.poll(() => source.shards().isEmpty).toBe(false);
  };
  return { ways, source, peer, relayed, set, ready };
}

async function read(source: Source, first: number, count: number): Promise<number> {
  let bytes = 0;
  const options = { signal: new AbortController().signal };
  for await (const piece of source.fetch({ first, count }, options)) bytes += piece.length;
  return bytes;
}

describe("the pushing machine as a source", () => {
  it("is one of its addresses that proves to know the token", async () => {
    const other = await machine("cd".repeat(32));
    const real = await machine();
    const closed = { url: "http://127.0.0.1:9", token: TOKEN };
    const { source, ready } = waysOf([
      closed,
      { url: other.url, token: TOKEN },
      { url: real.url, token: TOKEN },
    ]);
    await ready();
    expect(await read(source, 255, 1)).toBe(MIB);
    const login = `Basic ${btoa(`waybill:${TOKEN}`)}`;
    expect(real.seen.at(-1)).toEqual({ path: "/objects/a", authorization: login });
  });

  it("is never told the token by a reader that it has not convinced", async () => {
    const other = await machine("cd".repeat(32));
    const { source, ways } = waysOf([{ url: other.url, token: TOKEN }]);
    await expect.poll(() => other.seen.length).toBe(1);
    await ways.close();
    expect(source.shards().isEmpty).toBe(true);
    expect(JSON.stringify(other.seen)).not.toContain(TOKEN);
    expect(other.seen.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it("is asked for the end first, and not for what has landed", async () => {
    const { url } = await machine();
    const { source, set, ready } = waysOf([{ url, token: TOKEN }]);
    await ready();
    expect(source.shards().runs()).toEqual([{ first: 192, count: 64 }]);
    expect(await read(source, 192, 64)).toBe(64 * MIB);
    expect(source.shards().runs()).toEqual([{ first: 144, count: 112 }]);
    set({ objects: [{ key: "a", segments: [{ part: 1, size: 160 * MIB }] }] });
    expect(source.shards().runs()).toEqual([{ first: 160, count: 96 }]);
    set({ done: true });
    expect(source.shards().has(160)).toBe(false);
  });

  it("is another machine when that one goes on with the push", async () => {
    const [first, second] = [await machine(), await machine("ef".repeat(32))];
    const { source, set, ready } = waysOf([{ url: first.url, token: TOKEN }]);
    await ready();
    set({ direct: [{ url: second.url, token: "ef".repeat(32) }] });
    await expect.poll(() => second.seen.length).toBe(1);
    await expect.poll(async () => read(source, 200, 1).then(() => second.seen.length)).toBe(2);
  });
});

const pusherId = decodeValue(PeerId, `p_${"s".repeat(16)}_1`, "peer");
const readerId = decodeValue(PeerId, `p_${"r".repeat(16)}_1`, "peer");

/** A pushing peer whose tree is zeros, the reader's links, and what happened. */
function pusher() {
  const pair = new LinkPair(readerId, pusherId);
  const server = new TreeServer({ links: linksOf(pair.server) });
  const done: PeerId[] = [];
  const { offer } = server.offer({
    tree: {
      sizeOf: (key) => (key === "a" ? 256 * MIB : undefined),
      check: async () => undefined,
      read: async function* (_, start, end) {
        for (let at = start; at < end; at += MIB) yield new Uint8Array(Math.min(MIB, end - at));
      },
    },
    onDone: (id) => done.push(id),
  });
  let released = 0;
  const linkTo = () => Object.assign(pair.reader, { release: () => void (released += 1) });
  endings.push(() => server.stop());
  return {
    pair,
    done,
    peers: { linkTo } satisfies TreePeers,
    address: { peer: pusherId, offer },
    released: () => released,
  };
}

describe("the pushing peer as a source", () => {
  it("serves where no HTTP address answers (28)", async () => {
    const { peers, address } = pusher();
    const closed = { url: "http://127.0.0.1:9", token: TOKEN };
    const { source, peer: byPeer } = waysOf([closed, address], peers);
    expect(byPeer?.shards().runs()).toEqual([{ first: 192, count: 64 }]);
    expect(byPeer?.kind).toBe("peer");
    expect(await read(byPeer as Source, 250, 6)).toBe(6 * MIB);
    expect(source.shards().isEmpty).toBe(true);
  });

  it("makes way for an HTTP address that answers, and takes over when that is gone (28)", async () => {
    const { peers, address } = pusher();
    const real = await machine();
    const {
      source,
      peer: byPeer,
      ready,
    } = waysOf([{ url: real.url, token: TOKEN }, address], peers);
    await ready();
    expect(byPeer?.shards().isEmpty).toBe(true);
    real.server.closeAllConnections();
    real.server.close();
    await expect(read(source, 250, 1)).rejects.toMatchObject({ retryable: true });
    await expect.poll(() => byPeer?.shards().has(250)).toBe(true);
    expect(source.shards().isEmpty).toBe(true);
    expect(await read(byPeer as Source, 250, 1)).toBe(MIB);
  });

  it("offers nothing while its link has no path for bulk, and counts as paid over a TURN server", async () => {
    const { peers, address, pair } = pusher();
    pair.bulkWorks = false;
    const { peer: byPeer, relayed } = waysOf([address], peers);
    const offered = () => [byPeer, relayed].map((one) => one?.shards().isEmpty === false);
    expect(offered()).toEqual([false, false]);
    pair.bulkWorks = true;
    expect(offered()).toEqual([true, false]);
    pair.reader.setPath({ kind: "webrtc", candidateType: "relay", rttMs: 20 });
    expect(offered()).toEqual([false, true]);
    expect([byPeer?.cost, relayed?.cost]).toEqual(["free", "paid"]);
  });

  it("goes on where HTTP has left off: what was asked there is not counted as left (29)", async () => {
    const { peers, address } = pusher();
    const real = await machine();
    const addresses = [{ url: real.url, token: TOKEN }, address];
    const { source, peer: byPeer, set, ready } = waysOf(addresses, peers);
    await ready();
    await read(source, 192, 64);
    set({ direct: [address] });
    // 64 came over HTTP: they stay offered, and the next 48 are counted from there.
    await expect.poll(() => byPeer?.shards().runs()).toEqual([{ first: 144, count: 112 }]);
  });

  it("is offered whole while the upload is held, and from its end on after that (32, 33)", async () => {
    const { peers, address } = pusher();
    const { peer: byPeer, set } = waysOf([address], peers);
    set({ held: true });
    expect(byPeer?.shards().runs()).toEqual([{ first: 0, count: 256 }]);
    set({ held: false });
    expect(byPeer?.shards().runs()).toEqual([{ first: 192, count: 64 }]);
  });

  it("is told when the reader has everything (30)", async () => {
    const { peers, address, done } = pusher();
    const { ways } = waysOf([address], peers);
    ways.delivered();
    await expect.poll(() => done).toEqual([readerId]);
  });

  it("is another peer when that one goes on with the push, and its link is given back", async () => {
    const [first, second] = [pusher(), pusher()];
    let now = first;
    const peers: TreePeers = { linkTo: () => now.peers.linkTo() };
    const { peer: byPeer, set, ways } = waysOf([first.address], peers);
    now = second;
    set({ direct: [second.address] });
    expect(first.released()).toBe(1);
    expect(await read(byPeer as Source, 200, 1)).toBe(MIB);
    await ways.close();
    expect(second.released()).toBe(1);
  });
});

// docs/protocol/arriving.md §4: whom a reader takes for the pushing machine, and what it asks of it.
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import * as v from "valibot";
import { afterEach, describe, expect, it } from "vitest";
import { ShardMap } from "../../artifact/index.ts";
import { createByteTransport } from "../../platform/index.ts";
import { ArtifactManifest, type DirectAddress } from "../../protocol/index.ts";
import { LinkBook } from "../../transfer/index.ts";
import type { ArrivingAccount, ArrivingFeed } from "./arriving-feed.ts";
import { DirectSource, helloProof } from "./direct-source.ts";

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

/** A source over a feed whose account the test sets. */
function sourceOf(direct: readonly DirectAddress[]) {
  let account: ArrivingAccount = { done: false, unitBytes: MIB, objects: [], direct };
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
  const source = new DirectSource({ map, feed: feed as ArrivingFeed, transport, links });
  endings.push(
    () => transport.close(),
    () => source.close(),
  );
  const set = (change: Partial<ArrivingAccount>) => {
    account = { ...account, ...change };
    for (const listener of listeners) listener();
  };
  const ready = async () => {
    await expect.poll(() => source.shards().isEmpty).toBe(false);
  };
  return { source, set, ready };
}

async function read(source: DirectSource, first: number, count: number): Promise<number> {
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
    const { source, ready } = sourceOf([
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
    const { source } = sourceOf([{ url: other.url, token: TOKEN }]);
    await expect.poll(() => other.seen.length).toBe(1);
    await source.close();
    expect(source.shards().isEmpty).toBe(true);
    expect(JSON.stringify(other.seen)).not.toContain(TOKEN);
    expect(other.seen.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  it("is asked for the end first, and not for what has landed", async () => {
    const { url } = await machine();
    const { source, set, ready } = sourceOf([{ url, token: TOKEN }]);
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
    const { source, set, ready } = sourceOf([{ url: first.url, token: TOKEN }]);
    await ready();
    set({ direct: [{ url: second.url, token: "ef".repeat(32) }] });
    await expect.poll(() => second.seen.length).toBe(1);
    await expect.poll(async () => read(source, 200, 1).then(() => second.seen.length)).toBe(2);
  });
});

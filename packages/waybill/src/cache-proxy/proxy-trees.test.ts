// docs/protocol/data-server.md §4: servers that fill.
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GrowingTree } from "@waybill/sdk/client";
import { type ArtifactId, WaybillError } from "@waybill/sdk/protocol";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CachedProvider } from "../data-server/cached-provider.ts";
import type { ServedTree } from "../data-server/tree-provider.ts";
import { ArtifactCache } from "../worker/cache/artifact-cache.ts";
import { removeTree } from "../worker/data-dir/data-dir.ts";
import { REFUSED_MS } from "./fill-board.ts";
import { Fills, type FillsEvent } from "./fills.ts";
import { HeldOrigin, roomWith } from "./growing.fixture.ts";
import { ProxyTrees } from "./proxy-trees.ts";

const endings: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end();
});

/** 40 shards of 1 KiB and one of 3 bytes. */
const big = Buffer.from(Array.from({ length: 40_963 }, (_, at) => (at * 7 + (at >> 8) + 1) & 255));
const files = { "big.bin": big, empty: Buffer.alloc(0), "sub/small.txt": Buffer.from("hello") };
const never = new AbortController().signal;

async function setup(layout: "plain" | "packed" = "plain", maxBytes = 1_000_000) {
  const root = await mkdtemp(join(tmpdir(), "waybill-proxy-"));
  endings.push(() => removeTree(root));
  const room = roomWith(files, layout);
  const origin = new HeldOrigin(room);
  const start = () => {
    let nowMs = 0;
    const cache = new ArtifactCache({
      cacheDir: join(root, "cache"),
      maxBytes,
      log: () => undefined,
    });
    const whole = new CachedProvider({ cache, isShared: async () => true });
    const events: FillsEvent[] = [];
    const asked: string[] = [];
    const admit = ({ map: { bytes } }: GrowingTree) => {
      if (bytes > maxBytes) throw new WaybillError("storage_full", "it is larger than the cache");
    };
    const fills = new Fills({
      cache,
      origin,
      admit,
      onEvent: (event) => events.push(event),
      now: () => nowMs,
    });
    const trees = new ProxyTrees({ whole, fills, onAsked: (how) => asked.push(how) });
    const stop = async () => {
      await fills.stop();
      whole.stop();
    };
    endings.push(stop);
    return { cache, whole, fills, trees, events, asked, stop, wait: (ms: number) => (nowMs += ms) };
  };
  const { artifact, map } = room;
  return { origin, artifact, map, start, ...start() };
}

async function opened(trees: ProxyTrees, artifact: ArtifactId): Promise<ServedTree> {
  const tree = await trees.open(artifact, never);
  if (tree === undefined) throw new Error("it is not here");
  return tree;
}

async function read(
  { objects }: ServedTree,
  key: string,
  start: number,
  end: number,
  signal = never,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of objects.read(key, start, end, signal)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

describe("a server that fills", () => {
  it("fetches an artifact once however many ask, and serves every reader right bytes", async () => {
    const { trees, origin, artifact, events, asked } = await setup();
    const readers = Array.from({ length: 50 }, async () => {
      const tree = await opened(trees, artifact);
      try {
        return (await read(tree, "big.bin", 0, big.length)).equals(big);
      } finally {
        tree.release();
      }
    });
    origin.let(1000);
    expect(new Set(await Promise.all(readers))).toEqual(new Set([true]));
    expect(origin.pulls).toEqual([artifact]);
    expect(origin.sentBytes).toBe(big.length + 5);
    await vi.waitFor(() => expect(events.map(({ type }) => type)).toContain("fill.whole"));
    expect(asked.filter((how) => how === "miss")).toHaveLength(1);
    const again = await opened(trees, artifact);
    expect(asked.at(-1)).toBe("hit");
    expect((await read(again, "sub/small.txt", 1, 3)).toString()).toBe("el");
    expect([again.objects.sizeOf("empty"), again.objects.sizeOf("none")]).toEqual([0, undefined]);
    again.release();
    expect(origin.pulls).toHaveLength(1);
  });

  it("serves a range when its shards have matched, before the rest is here", async () => {
    const { trees, origin, artifact } = await setup();
    const tree = await opened(trees, artifact);
    const first = read(tree, "big.bin", 100, 1500);
    let isThere = false;
    void first.then(() => (isThere = true));
    origin.let(1);
    await vi.waitFor(() => expect(origin.asked.length).toBeGreaterThan(1));
    expect(isThere).toBe(false);
    origin.let(1);
    expect((await first).equals(big.subarray(100, 1500))).toBe(true);
    expect(origin.sentBytes).toBeLessThan(5000);
    tree.release();
  });

  it("fetches first what somebody waits for", async () => {
    const { trees, origin, artifact } = await setup();
    const tree = await opened(trees, artifact);
    await vi.waitFor(() => expect(origin.asked).toEqual([0]));
    const late = read(tree, "big.bin", 30 * 1024, 32 * 1024);
    origin.let(3);
    expect((await late).equals(big.subarray(30 * 1024, 32 * 1024))).toBe(true);
    expect(origin.asked.slice(0, 3)).toEqual([0, 30, 31]);
    tree.release();
  });

  it("serves a pack across its files while they come", async () => {
    const { trees, origin, artifact } = await setup("packed");
    const tree = await opened(trees, artifact);
    origin.let(1000);
    const pack = Buffer.concat(Object.values(files));
    expect((await read(tree, "pack.bin", 0, pack.length)).equals(pack)).toBe(true);
    expect((await read(tree, "pack.bin", big.length - 2, pack.length)).toString()).toBe(
      pack.subarray(-7).toString(),
    );
    expect(tree.objects.sizeOf("big.bin")).toBeUndefined();
    tree.release();
  });

  it("goes on when the reader that made it begin has gone", async () => {
    const { trees, origin, artifact, events } = await setup();
    const gone = new AbortController();
    const first = await opened(trees, artifact);
    const second = await opened(trees, artifact);
    const reading = read(first, "big.bin", 0, big.length, gone.signal);
    gone.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
    first.release();
    origin.let(1000);
    expect((await read(second, "big.bin", 0, 2000)).equals(big.subarray(0, 2000))).toBe(true);
    second.release();
    await vi.waitFor(() => expect(events.at(-1)?.type).toBe("fill.whole"));
  });

  it("I2: fetches nothing again that was here when it was stopped", async () => {
    const { trees, origin, artifact, start, stop, events } = await setup();
    const tree = await opened(trees, artifact);
    origin.let(25);
    await read(tree, "big.bin", 0, 20 * 1024);
    await vi.waitFor(() => expect(origin.sentBytes).toBe(25 * 1024));
    const cut = read(tree, "big.bin", 0, big.length);
    const stopped = stop();
    await expect(cut).rejects.toThrow("the cache is stopping");
    await stopped;
    expect(events.map(({ type }) => type)).toEqual(["fill.started"]);
    const next = start();
    origin.let(1000);
    const again = await opened(next.trees, artifact);
    expect((await read(again, "big.bin", 0, big.length)).equals(big)).toBe(true);
    again.release();
    await vi.waitFor(() => expect(next.events.at(-1)?.type).toBe("fill.whole"));
    expect(origin.sentBytes).toBe(big.length + 5);
  });

  it("tells waiting readers what the origin says, asks it again only after a moment, and then gets on", async () => {
    const { trees, origin, artifact, wait } = await setup();
    origin.error = new WaybillError("forbidden", "the store refuses");
    const all = await Promise.allSettled([1, 2, 3].map(async () => opened(trees, artifact)));
    for (const one of all) expect(one).toMatchObject({ reason: { code: "forbidden" } });
    origin.error = undefined;
    await expect(trees.open(artifact, never)).rejects.toMatchObject({ code: "forbidden" });
    expect(origin.pulls).toHaveLength(1);
    wait(REFUSED_MS);
    origin.let(1000);
    const tree = await opened(trees, artifact);
    expect((await read(tree, "sub/small.txt", 0, 5)).toString()).toBe("hello");
    tree.release();
  });

  it("cuts readers off whose bytes do not come, and keeps what came", async () => {
    const { trees, origin, artifact, wait } = await setup();
    const tree = await opened(trees, artifact);
    origin.let(10);
    await read(tree, "big.bin", 0, 10 * 1024);
    origin.error = new WaybillError("forbidden", "the store refuses");
    origin.let(1);
    await expect(read(tree, "big.bin", 0, big.length)).rejects.toMatchObject({
      code: "no_source_left",
    });
    tree.release();
    origin.error = undefined;
    wait(REFUSED_MS);
    origin.let(1000);
    const again = await opened(trees, artifact);
    expect((await read(again, "big.bin", 0, big.length)).equals(big)).toBe(true);
    again.release();
    expect(origin.sentBytes).toBe(big.length + 5);
  });

  it("says so when the room has no such artifact, or one that is larger than the cache", async () => {
    const { trees } = await setup();
    await expect(trees.open("0".repeat(64) as ArtifactId, never)).rejects.toMatchObject({
      code: "not_found",
    });
    const small = await setup("plain", 1000);
    await expect(small.trees.open(small.artifact, never)).rejects.toMatchObject({
      code: "storage_full",
    });
    expect(small.origin.asked).toEqual([]);
  });
});

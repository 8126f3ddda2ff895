// A cache behind a data server: what is held, what is let go of, and what is not served any more.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { artifactId, scanTree } from "@waybill/sdk/artifact";
import {
  type ArtifactId,
  ArtifactName,
  type WaybillError,
  decodeValue,
} from "@waybill/sdk/protocol";
import { hashTree } from "@waybill/sdk/transfer";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { CachedTrees } from "../worker/cache/cached-trees.ts";
import { CachedProvider } from "./cached-provider.ts";

const BYTES = 2 * 1024 * 1024;
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "waybill-cached-"));
});

afterEach(() => rm(root, { recursive: true }));

/** A cache with one artifact. */
async function setup() {
  await writeFile(join(root, "big.bin"), Buffer.alloc(BYTES, 5));
  const name = decodeValue(ArtifactName, "tree", "name");
  const { manifest } = await hashTree(await scanTree(root), { name });
  const artifact = artifactId(manifest);
  const listeners = new Set<() => void>();
  const state = { here: true, holds: 0, held: 0, complaints: 0 };
  const cache: CachedTrees = {
    list: async () => [{ artifact, bytes: BYTES, usedMs: 1, pinned: false }],
    hold: async (asked) => {
      if (asked !== artifact || !state.here) return undefined;
      state.holds += 1;
      state.held += 1;
      return { dir: root, manifest, bytes: BYTES, release: () => (state.held -= 1) };
    },
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    damaged: () => (state.complaints += 1),
  };
  const change = () => listeners.forEach((listener) => listener());
  return { artifact, cache, state, change, listeners };
}

const all = async () => true;

async function readAll(pieces: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const piece of pieces) bytes += piece.length;
  return bytes;
}

describe("a cache that is served", () => {
  afterEach(() => vi.useRealTimers());

  it("is held once however many read, and a moment longer", async () => {
    const { artifact, cache, state } = await setup();
    const provider = new CachedProvider({ cache, isShared: all });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const trees = await Promise.all([1, 2, 3].map(async () => provider.open(artifact)));
    expect(state).toMatchObject({ holds: 1, held: 1 });
    expect(trees[0]?.objects.sizeOf("big.bin")).toBe(BYTES);
    for (const tree of trees) {
      tree?.release();
      tree?.release();
    }
    expect(state.held).toBe(1);
    await provider.open(artifact).then((tree) => tree?.release());
    expect(state.holds).toBe(1);
    await vi.advanceTimersByTimeAsync(5000);
    expect(state.held).toBe(0);
    provider.stop();
  });

  it("gives nothing that is not here, or not everybody's", async () => {
    const { artifact, cache, state } = await setup();
    const provider = new CachedProvider({ cache, isShared: async () => false });
    expect(await provider.list()).toEqual([]);
    expect(await provider.open(artifact)).toBeUndefined();
    expect(state.holds).toBe(0);
    const other = new CachedProvider({ cache, isShared: all });
    expect(await other.list()).toEqual([{ artifact, bytes: BYTES }]);
    expect(await other.open("f".repeat(64) as ArtifactId)).toBeUndefined();
    provider.stop();
    other.stop();
  });

  it("is cut off in the middle when it is found damaged, and not opened again", async () => {
    const { artifact, cache, state, change } = await setup();
    const provider = new CachedProvider({ cache, isShared: all });
    const tree = await provider.open(artifact);
    if (tree === undefined) throw new Error("not here");
    const { signal } = new AbortController();
    const pieces = tree.objects.read("big.bin", 0, BYTES, signal)[Symbol.asyncIterator]();
    expect((await pieces.next()).done).toBe(false);
    state.here = false;
    change();
    await vi.waitFor(async () => {
      const again = await provider.open(artifact);
      again?.release();
      expect(again).toBeUndefined();
    });
    const error = await pieces.next().catch((caught: WaybillError) => caught);
    expect(error).toMatchObject({ code: "source_changed" });
    tree.release();
    await vi.waitFor(() => expect(state.held).toBe(0));
    provider.stop();
  });

  it("is read on when something else in the cache changes", async () => {
    const { artifact, cache, state, change, listeners } = await setup();
    const provider = new CachedProvider({ cache, isShared: all });
    const tree = await provider.open(artifact);
    if (tree === undefined) throw new Error("not here");
    const { signal } = new AbortController();
    const reading = readAll(tree.objects.read("big.bin", 0, BYTES, signal));
    change();
    expect(await reading).toBe(BYTES);
    tree.release();
    provider.stop();
    await vi.waitFor(() => expect(state.held).toBe(0));
    expect(listeners.size).toBe(0);
  });

  it("is looked at when a reader complains, once in ten minutes, and not when nobody reads it", async () => {
    const { artifact, cache, state } = await setup();
    let nowMs = 0;
    const provider = new CachedProvider({ cache, isShared: all, now: () => nowMs });
    provider.damaged(artifact);
    expect(state.complaints).toBe(0);
    const tree = await provider.open(artifact);
    provider.damaged(artifact);
    provider.damaged(artifact);
    expect(state.complaints).toBe(1);
    nowMs = 600_000;
    provider.damaged(artifact);
    expect(state.complaints).toBe(2);
    tree?.release();
    provider.stop();
  });
});

// docs/protocol/data-server.md §2: what a worker tells of its cache, and where it serves it.
import { createServer } from "node:net";
import { type ArtifactId, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { TreeProvider } from "../../data-server/tree-provider.ts";
import type { CachedTree } from "../cache/cached-trees.ts";
import type { HubCalls } from "../ports.ts";
import { CachedNotice } from "./cached-notice.ts";
import { RoomArtifacts } from "./room-artifacts.ts";
import { serveCache } from "./serve-cache.ts";

const ROOM = "lab" as RoomId;
const idOf = (at: number) => at.toString(16).padStart(64, "0") as ArtifactId;
const treeOf = (at: number): CachedTree => ({
  artifact: idOf(at),
  bytes: 1,
  usedMs: 0,
  pinned: false,
});

afterEach(() => vi.useRealTimers());

describe("what a worker tells of its cache", () => {
  function setup(isShared: (artifact: ArtifactId) => Promise<boolean> = async () => true) {
    vi.useFakeTimers();
    const state = { trees: [treeOf(1)], online: true };
    const sent: ArtifactId[][] = [];
    const listeners = new Set<() => void>();
    const notice = new CachedNotice({
      cache: {
        list: async () => state.trees,
        onChange: (listener) => {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      isShared,
      send: (list) => {
        if (state.online) sent.push(list);
        return state.online;
      },
      log: () => undefined,
    });
    notice.start();
    const change = (...trees: CachedTree[]) => {
      state.trees = trees;
      for (const listener of listeners) listener();
    };
    return { notice, state, sent, change, listeners };
  }

  it("is told when the hub welcomes it, at once after a change, and those that follow together", async () => {
    const { notice, sent, change } = setup();
    expect(notice.tell()).toEqual([]);
    notice.online();
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toEqual([[idOf(1)]]);
    for (let at = 2; at < 9; at++) change(treeOf(at), treeOf(1));
    await vi.advanceTimersByTimeAsync(2500);
    expect(sent).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(500);
    expect(sent.at(-1)).toEqual([idOf(8), idOf(1)]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sent).toHaveLength(2);
    change(treeOf(9));
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toHaveLength(3);
    await notice.stop();
  });

  it("is told again after a connection that heard nothing of it, and not when nothing has changed", async () => {
    const { notice, state, sent, change } = setup();
    state.online = false;
    change(treeOf(1), treeOf(2));
    await vi.advanceTimersByTimeAsync(1);
    expect(sent).toEqual([]);
    state.online = true;
    // The hello of the new connection has it.
    expect(notice.tell()).toEqual([idOf(1), idOf(2)]);
    notice.online();
    await vi.advanceTimersByTimeAsync(5000);
    expect(sent).toEqual([]);
    change();
    await vi.advanceTimersByTimeAsync(5000);
    expect(sent).toEqual([[]]);
    await notice.stop();
  });

  it("is 256 artifacts that everybody may have, the most recently used ones", async () => {
    const { notice, sent, change, listeners } = setup(async (id) => id !== idOf(3));
    change(...Array.from({ length: 300 }, (_, at) => treeOf(at)));
    await vi.advanceTimersByTimeAsync(1);
    expect(sent[0]).toHaveLength(256);
    expect(sent[0]?.slice(0, 4)).toEqual([idOf(0), idOf(1), idOf(2), idOf(4)]);
    await notice.stop();
    expect(listeners.size).toBe(0);
  });
});

describe("what everybody in the room may have", () => {
  function setup(answer: () => { kind: string }) {
    let nowMs = 0;
    const asked: string[] = [];
    const hub = {
      call: async (name: string) => {
        asked.push(name);
        return answer();
      },
    } as unknown as HubCalls;
    const artifacts = new RoomArtifacts({ hub, room: ROOM, now: () => nowMs });
    return { artifacts, asked, wait: (ms: number) => (nowMs += ms) };
  }

  it("is what the hub knows, which is asked once", async () => {
    const { artifacts, asked } = setup(() => ({ kind: "dataset" }));
    expect(await Promise.all([artifacts.knows(idOf(1)), artifacts.knows(idOf(1))])).toEqual([
      true,
      true,
    ]);
    expect(await artifacts.knows(idOf(1))).toBe(true);
    expect(asked).toEqual(["resolveArtifact"]);
  });

  it.each([
    ["a checkpoint", () => ({ kind: "checkpoint" })],
    [
      "what the hub does not give this worker",
      () => {
        throw new WaybillError("forbidden", "a checkpoint of another job");
      },
    ],
  ])("is not %s, which is asked again after a minute", async (_, answer) => {
    const { artifacts, asked, wait } = setup(answer);
    expect(await artifacts.knows(idOf(1))).toBe(false);
    wait(59_000);
    expect(await artifacts.knows(idOf(1))).toBe(false);
    expect(asked).toHaveLength(1);
    wait(2000);
    await artifacts.knows(idOf(1));
    expect(asked).toHaveLength(2);
  });

  it("is nothing while the hub is away", async () => {
    let isAway = true;
    const { artifacts } = setup(() => {
      if (isAway) throw new WaybillError("unreachable", "away");
      return { kind: "model" };
    });
    expect(await artifacts.knows(idOf(1))).toBe(false);
    isAway = false;
    expect(await artifacts.knows(idOf(1))).toBe(true);
  });
});

describe("where a worker serves", () => {
  const trees: TreeProvider = { list: async () => [], open: async () => undefined };
  const host = "127.0.0.1";

  async function taken() {
    const server = createServer().listen(0, host);
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    return { port, [Symbol.asyncDispose]: async () => void server.close() };
  }

  it("is at the default port or one beside it, so that workers of one machine do not meet", async () => {
    const logged: string[] = [];
    const log = (_: string, text: string) => void logged.push(text);
    await using one = await serveCache(trees, { host }, log);
    await using two = await serveCache(trees, { host }, log);
    expect(one?.port).toBeGreaterThanOrEqual(8780);
    expect(two?.port).not.toBe(one?.port);
    expect(logged[1]).toMatch(/port 8780 is taken/);
    for (const { token } of [...(one?.addresses ?? []), ...(two?.addresses ?? [])]) {
      expect(logged.join("\n")).not.toContain(token);
    }
  });

  it("is nowhere when the port it was given is taken, which is said and ends nothing", async () => {
    await using busy = await taken();
    const logged: string[] = [];
    const log = (level: string, text: string) => void logged.push(`${level}: ${text}`);
    expect(await serveCache(trees, { host, port: busy.port }, log)).toBeUndefined();
    expect(logged[0]).toMatch(`warn: cached artifacts are not served to others: port ${busy.port}`);
  });
});

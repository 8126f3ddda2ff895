import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createStore } from "./store.ts";
import { testCredential } from "./testing/test-store.ts";
import { type ThreadedStore, createThreadedStore } from "./threaded-store.ts";

const folders: string[] = [];
const stores: ThreadedStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.stop();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

async function newInit() {
  const dataDir = await mkdtemp(join(tmpdir(), "waybill-threaded-"));
  folders.push(dataDir);
  return {
    dataDir,
    host: "127.0.0.1",
    port: 0,
    region: "us-east-1",
    credentials: [testCredential],
  };
}

function threaded(init: Parameters<typeof createThreadedStore>[0]): ThreadedStore {
  const store = createThreadedStore(init);
  stores.push(store);
  return store;
}

describe("a store in a thread of its own", () => {
  it("listens, answers as a store, and is gone when it is stopped", async () => {
    const store = threaded(await newInit());
    const { endpoint } = await store.start();
    expect(await store.start()).toEqual({ endpoint });
    const answer = await fetch(`${endpoint}/bucket/key`);
    expect(answer.status).toBe(403);
    expect(await answer.text()).toContain("<Code>AccessDenied</Code>");
    await store.stop();
    await store.stop();
    await expect(fetch(endpoint)).rejects.toThrow("fetch failed");
  });

  it("gives its data directory back when it is stopped", async () => {
    const init = await newInit();
    const first = threaded(init);
    await first.start();
    await first.stop();
    await using second = createStore(init);
    await expect(second.start()).resolves.toBeDefined();
  });

  it("fails to start as a store fails: with its code and hint", async () => {
    const init = await newInit();
    await threaded(init).start();
    await expect(threaded(init).start()).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringContaining(init.dataDir),
      hint: expect.stringContaining("--data"),
    });
  });
});

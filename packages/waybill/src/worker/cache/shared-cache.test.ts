// docs/protocol/cache.md: several processes on one cache. "Processes" are caches with places of their own; those on another
// machine are judged by the age of what they write.
import {
  link,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  stat,
  utimes,
  writeFile,
  chmod,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WaybillError } from "@waybill/sdk/protocol";
import { type SourceFactory, localTree, pullTree } from "@waybill/sdk/transfer";
import { type Room, roomWith } from "../../cache-proxy/growing.fixture.ts";
import { makeWritable, removeTree } from "../data-dir/data-dir.ts";
import { ArtifactCache, type ArtifactCacheInit } from "./artifact-cache.ts";
import { type ProcessPlace, ownPlace } from "./cache-owners.ts";
import type { PullInto } from "./filling.ts";
import { treeState } from "./tree-state.ts";

const digits = Buffer.alloc(5000, "digits ");
const digitsRoom = roomWith({ "a.bin": digits, "sub/b.bin": Buffer.from("small") }, "plain");
const lettersRoom = roomWith({ "c.bin": Buffer.alloc(3000, "letters ") }, "plain");

let dir: string;
let opened: ArtifactCache[];
let fetched: number;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-shared-"));
  opened = [];
  fetched = 0;
  for (const [name, room] of [
    ["digits", digitsRoom],
    ["letters", lettersRoom],
  ] as const) {
    await writeOrigin(join(dir, "origin", name), room);
  }
});

afterEach(async () => {
  for (const cache of opened) await cache.close();
  await removeTree(dir);
});

async function writeOrigin(to: string, { map, bytes }: Room): Promise<void> {
  let at = 0;
  for (const { path, size } of map.manifest.files) {
    await mkdir(join(to, path, ".."), { recursive: true });
    await writeFile(join(to, path), bytes.subarray(at, at + size));
    at += size;
  }
}

function cacheOf(init: Partial<ArtifactCacheInit> = {}): ArtifactCache {
  const cache = new ArtifactCache({
    cacheDir: join(dir, "cache"),
    maxBytes: 100_000,
    log: () => undefined,
    ...init,
  });
  opened.push(cache);
  return cache;
}

/** A folder as if it were far away. */
function origin(from: string): SourceFactory {
  return async (open) => {
    const tree = await localTree(from)(open);
    if (tree === undefined) return undefined;
    return {
      id: "origin",
      kind: "s3",
      cost: "paid",
      window: 1,
      shards: () => tree.shards(),
      fetch: (run, options) => tree.fetch(run, options),
    };
  };
}

function pulling(room: Room, name: string, onRoom?: () => Promise<void>): PullInto {
  return async (into, { room: ask }) => {
    const { artifact, map } = room;
    const { manifest } = map;
    await ask(map.bytes);
    await onRoom?.();
    const pulled = await pullTree({
      artifact,
      manifest,
      dir: into,
      overwrite: true,
      sources: [origin(join(dir, "origin", name))],
    });
    fetched += 1;
    return { ...pulled, seconds: 0, manifest };
  };
}
const digitsPull = (onRoom?: () => Promise<void>) => pulling(digitsRoom, "digits", onRoom);
const lettersPull = (onRoom?: () => Promise<void>) => pulling(lettersRoom, "letters", onRoom);
const inCache = (...parts: string[]) => join(dir, "cache", ...parts);
const names = async (folder: string) => (await readdir(inCache(folder))).length;

/** A process on another machine. */
const elsewhere = (host: string): ProcessPlace => ({ host, system: host, pid: 1, started: "once" });
/** One on this machine that has ended. */
async function ended(): Promise<ProcessPlace> {
  return { ...(await ownPlace()), started: "an earlier life" };
}

describe("a cache that processes share", () => {
  it("fills once when several want the same", async () => {
    const [one, other] = [cacheOf(), cacheOf()];
    const leases = await Promise.all([
      one.open(
        digitsRoom.artifact,
        digitsPull(() => sleep(100)),
      ),
      sleep(20).then(() => other.open(digitsRoom.artifact, digitsPull())),
    ]);
    expect(fetched).toBe(1);
    for (const lease of leases) {
      expect(await readFile(join(lease.dir, "a.bin"))).toEqual(digits);
      lease.release();
    }
  });

  it("does not evict what another process reads", async () => {
    const [reader, evictor] = [cacheOf(), cacheOf()];
    const lease = await reader.open(digitsRoom.artifact, digitsPull());
    expect(await evictor.evict(digitsRoom.artifact, 0)).toBe(false);
    lease.release();
    await reader.close();
    expect(await evictor.evict(digitsRoom.artifact, 0)).toBe(true);
    expect(await evictor.list()).toEqual([]);
    expect([await names("trash"), await names("used")]).toEqual([0, 0]);
  });

  it("keeps to the cap over all processes: what one announces counts for the other", async () => {
    const init = { maxBytes: 6000, roomPatienceMs: 50 };
    const [one, other] = [cacheOf(init), cacheOf(init)];
    const first = await one.open(digitsRoom.artifact, digitsPull());
    const second = await other.open(lettersRoom.artifact, lettersPull());
    // Over by one artifact, and no more.
    expect(second.dir).toContain("artifacts");
    second.release();
    const third = await one.open(lettersRoom.artifact, lettersPull());
    third.release();
    first.release();
    await one.close();
    await other.upkeep();
    expect((await other.list()).map(({ bytes }) => bytes)).toEqual([3000]);
  });

  it("lets a job have what there is no place for, and keeps nothing of it", async () => {
    const rooms = [digitsRoom, lettersRoom];
    const [one, two] = [cacheOf({ maxBytes: 100 }), cacheOf({ maxBytes: 100, roomPatienceMs: 50 })];
    const kept = await one.open(rooms[0]?.artifact ?? digitsRoom.artifact, digitsPull());
    const alone = await two.open(lettersRoom.artifact, lettersPull());
    expect(alone.dir).toContain("filling");
    expect((await readFile(join(alone.dir, "c.bin"))).length).toBe(3000);
    alone.release();
    kept.release();
    await two.close();
    expect(await names("filling")).toBe(0);
  });

  it("refuses what would leave too little free on the disk", async () => {
    const cache = cacheOf({ minFreeBytes: Number.MAX_SAFE_INTEGER, roomPatienceMs: 0 });
    const opening = cache.open(digitsRoom.artifact, digitsPull());
    await expect(opening).rejects.toMatchObject({ code: "storage_full" });
  });
});

describe("what a process that died has left", () => {
  it("is cleared at once when it ran on this machine", async () => {
    const dead = cacheOf({ processPlace: await ended() });
    await dead.open(digitsRoom.artifact, digitsPull());
    const living = cacheOf();
    expect(await living.evict(digitsRoom.artifact, 0)).toBe(true);
    expect(await living.sweep()).toMatchObject({ leases: 1 });
    expect(await names("leases")).toBe(0);
  });

  it("is cleared by the volume's clock when it ran elsewhere", async () => {
    const far = cacheOf({ processPlace: elsewhere("pod-7"), ownerTiming: { renewMs: 1e6 } });
    await far.open(digitsRoom.artifact, digitsPull());
    const near = cacheOf();
    expect(await near.evict(digitsRoom.artifact, 0)).toBe(false);
    const longAgo = new Date(Date.now() - 181_000);
    for (const name of await readdir(inCache("owners"))) {
      const text = await readFile(inCache("owners", name), "utf8");
      if (text.includes("pod-7")) await utimes(inCache("owners", name), longAgo, longAgo);
    }
    expect(await near.evict(digitsRoom.artifact, 0)).toBe(true);
    expect(await near.sweep()).toMatchObject({ leases: 1 });
  });

  it("is gone on with: what was fetched is not fetched again (I2)", async () => {
    const dead = cacheOf({ processPlace: await ended() });
    const broken: PullInto = async (into, context) => {
      await digitsPull()(into, context);
      await context.room(1);
      throw new WaybillError("unreachable", "cut off");
    };
    await expect(dead.open(digitsRoom.artifact, broken)).rejects.toThrow("cut off");
    expect(await names("filling")).toBe(1);
    await removeTree(join(dir, "origin"));
    const living = cacheOf();
    const lease = await living.open(digitsRoom.artifact, digitsPull());
    expect(lease.sources).toEqual({ cache: 5005 });
    lease.release();
    expect(await names("filling")).toBe(0);
  });

  it("is gone on with when it lies in place, as former versions left it", async () => {
    const place = inCache("artifacts", digitsRoom.artifact, "files");
    await mkdir(place, { recursive: true });
    await writeFile(join(place, "a.bin"), digits);
    const lease = await cacheOf().open(digitsRoom.artifact, digitsPull());
    expect(lease.sources).toEqual({ cache: 5000, s3: 5 });
    expect(await readdir(lease.dir)).toEqual(["a.bin", "sub"]);
    lease.release();
  });

  it("is put back from the trash when somebody reads it, and deleted otherwise", async () => {
    const dead = cacheOf({ processPlace: await ended() });
    (await dead.open(digitsRoom.artifact, digitsPull())).release();
    (await dead.open(lettersRoom.artifact, lettersPull())).release();
    await sleep(20);
    const [owner = ""] = await readdir(inCache("owners"));
    const reader = cacheOf();
    const held = await reader.hold(digitsRoom.artifact);
    for (const { artifact } of [digitsRoom, lettersRoom]) {
      await rename(
        inCache("artifacts", artifact),
        inCache("trash", `${artifact}.${owner}.n0000000000n`),
      );
    }
    const living = cacheOf();
    expect(await living.sweep()).toMatchObject({ trash: 2 });
    expect((await living.list()).map(({ artifact }) => artifact)).toEqual([digitsRoom.artifact]);
    expect(await names("trash")).toBe(0);
    held?.release();
  });

  it("makes a process that was taken for dead announce itself and what it holds anew", async () => {
    const cache = cacheOf({ ownerTiming: { renewMs: 20 } });
    const lease = await cache.open(digitsRoom.artifact, digitsPull());
    for (const folder of ["leases", "owners"]) {
      for (const name of await readdir(inCache(folder))) await removeTree(inCache(folder, name));
    }
    for (let n = 0; n < 100 && (await names("leases")) === 0; n += 1) await sleep(10);
    const other = cacheOf();
    expect(await other.evict(digitsRoom.artifact, 0)).toBe(false);
    lease.release();
  });
});

describe("a machine that slept", () => {
  it("does not publish on the strength of a lease that others have removed meanwhile", async () => {
    const cache = cacheOf({ ownerTiming: { renewMs: 1e6 } });
    let pulls = 0;
    const lease = await cache.open(digitsRoom.artifact, async (into, context) => {
      const pulled = await digitsPull()(into, context);
      pulls += 1;
      if (pulls > 1) return pulled;
      for (const folder of ["leases", "owners"]) {
        for (const name of await readdir(inCache(folder))) await removeTree(inCache(folder, name));
      }
      return pulled;
    });
    expect(pulls).toBe(2);
    expect(lease.sources).toEqual({ cache: 5005 });
    expect(await cacheOf().evict(digitsRoom.artifact, 0)).toBe(false);
    lease.release();
  });
});

describe("damage", () => {
  const file = () => inCache("artifacts", digitsRoom.artifact, "files/a.bin");

  it("done through a hard link is found at the next use and only what is wrong is fetched", async () => {
    const cache = cacheOf();
    (await cache.open(digitsRoom.artifact, digitsPull())).release();
    const job = join(dir, "job.bin");
    await link(file(), job);
    // As root, or after a chmod of its own files, a trainer may do this.
    await chmod(job, 0o644);
    const bytes = Buffer.from(digits);
    bytes.write("X", 2000);
    await writeFile(job, bytes);
    const before = await stat(file());
    const lease = await cache.open(digitsRoom.artifact, digitsPull());
    expect(await readFile(join(lease.dir, "a.bin"))).toEqual(digits);
    expect((await stat(file())).ino).not.toBe(before.ino);
    expect(await readFile(job)).toEqual(bytes);
    expect(lease.sources).toEqual({ cache: 5005 - 1024, s3: 1024 });
    lease.release();
  });

  it("of a file's mode alone is found at the next use, and nothing is fetched for it", async () => {
    const cache = cacheOf();
    (await cache.open(digitsRoom.artifact, digitsPull())).release();
    await link(file(), join(dir, "job.bin"));
    await chmod(join(dir, "job.bin"), 0o555);
    const lease = await cache.open(digitsRoom.artifact, digitsPull());
    expect((await stat(file())).mode & 0o111).toBe(0);
    expect(lease.sources).toEqual({ cache: 5005 });
    lease.release();
  });

  it("that keeps time and size is found by verify, and not served after that", async () => {
    const cache = cacheOf();
    (await cache.open(digitsRoom.artifact, digitsPull())).release();
    await rot();
    (await cache.open(digitsRoom.artifact, digitsPull())).release();
    expect(fetched).toBe(1);
    expect((await cache.verify(digitsRoom.artifact, { dryRun: true }))?.differences).toHaveLength(
      1,
    );
    expect(await cache.list()).toHaveLength(1);
    await cache.verify(digitsRoom.artifact);
    expect(await cacheOf().list()).toEqual([]);
    expect(await cacheOf().hold(digitsRoom.artifact)).toBeUndefined();
    const lease = await cache.open(digitsRoom.artifact, digitsPull());
    expect(await readFile(join(lease.dir, "a.bin"))).toEqual(digits);
    lease.release();
  });

  it("that a reader found is looked for in all of it, and nothing is served meanwhile", async () => {
    const cache = cacheOf();
    (await cache.open(digitsRoom.artifact, digitsPull())).release();
    const changes: number[] = [];
    const gone = new Promise<void>((resolve) => {
      cache.onChange(() => changes.push(0) === 3 && resolve());
    });
    await rot();
    cache.damaged(digitsRoom.artifact);
    expect(await cache.hold(digitsRoom.artifact)).toBeUndefined();
    await gone;
    expect(await cache.list()).toEqual([]);
  });

  it("that a reader only believed in is forgotten", async () => {
    const cache = cacheOf();
    (await cache.open(digitsRoom.artifact, digitsPull())).release();
    let changes = 0;
    const over = new Promise<void>((resolve) => {
      cache.onChange(() => {
        changes += 1;
        if (changes === 2) resolve();
      });
    });
    cache.damaged(digitsRoom.artifact);
    await over;
    expect(await cache.list()).toHaveLength(1);
  });

  /** Other bytes under the same size, time and inode. */
  async function rot(): Promise<void> {
    const { atime, mtime } = await stat(file());
    await makeWritable(inCache("artifacts"));
    await chmod(file(), 0o644);
    const bytes = Buffer.from(digits);
    bytes.write("X", 4000);
    await writeFile(file(), bytes, { flag: "r+" });
    // Times are kept to the millisecond only here.
    await utimes(file(), atime, mtime);
    const marker = inCache("artifacts", digitsRoom.artifact, "ready.json");
    const state = await treeState(inCache("artifacts", digitsRoom.artifact, "files"));
    await writeFile(
      marker,
      JSON.stringify({ ...JSON.parse(await readFile(marker, "utf8")), state }),
    );
  }
});

describe("a pin", () => {
  it("keeps an artifact over the cap, also one that comes later, until it is taken away", async () => {
    const cache = cacheOf({ maxBytes: 3000 });
    await cache.pin(digitsRoom.artifact, "every job needs it");
    (await cache.open(digitsRoom.artifact, digitsPull())).release();
    await sleep(20);
    await cache.upkeep();
    expect(await cache.list()).toMatchObject([{ pinned: true }]);
    expect(await cache.unpin(digitsRoom.artifact)).toBe(true);
    expect(await cache.unpin(digitsRoom.artifact)).toBe(false);
    await cache.upkeep();
    expect(await cache.list()).toEqual([]);
  });
});

import {
  chmod,
  link,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as v from "valibot";
import { artifactId, decodeManifest } from "@waybill/sdk/artifact";
import { ArtifactId, ArtifactManifest } from "@waybill/sdk/protocol";
import { emptyManifest } from "../fakes.fixture.ts";
import { removeTree } from "../data-dir/data-dir.ts";
import { ArtifactCache } from "./artifact-cache.ts";

const id = (digit: string) => v.parse(ArtifactId, digit.repeat(64));
let dir: string;
let pulls: number;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-cache-"));
  pulls = 0;
});

afterEach(async () => {
  await removeTree(dir);
});

const cacheOf = (maxBytes = 1000) =>
  new ArtifactCache({ cacheDir: dir, maxBytes, log: () => undefined });

async function pull(into: string) {
  pulls += 1;
  await mkdir(join(into, "sub"), { recursive: true });
  await writeFile(join(into, "sub/a.txt"), "hello");
  return { bytes: 100, seconds: 0.1, sources: { s3: 100 }, manifest: emptyManifest("digits") };
}

async function kept(): Promise<string[]> {
  const names = await readdir(join(dir, "artifacts"));
  return names.map((name) => name.slice(0, 1)).sort((x, y) => x.localeCompare(y));
}

describe("the artifact cache", () => {
  it("pulls once, read-only, and serves from the disk afterwards", async () => {
    const cache = cacheOf();
    const [first, second] = await Promise.all([
      cache.open(id("a"), pull),
      cache.open(id("a"), pull),
    ]);
    expect(pulls).toBe(1);
    expect([first.sources, second.sources]).toEqual([{ s3: 100 }, { cache: 100 }]);
    expect(await readFile(join(first.dir, "sub/a.txt"), "utf8")).toBe("hello");
    expect((await stat(join(first.dir, "sub/a.txt"))).mode & 0o222).toBe(0);
    expect((await cacheOf().open(id("a"), pull)).sources).toEqual({ cache: 100 });
  });

  it("keeps the manifest beside the tree, for pulls of other versions", async () => {
    await cacheOf().open(id("a"), pull);
    const text = await readFile(join(dir, "artifacts", id("a"), "artifact.json"), "utf8");
    expect(decodeManifest(text)).toEqual(emptyManifest("digits"));
  });

  it("fetches again what was changed behind its back", async () => {
    const cache = cacheOf();
    const before = await cache.open(id("a"), pull);
    await chmod(join(before.dir, "sub/a.txt"), 0o644);
    await writeFile(join(before.dir, "sub/a.txt"), "HELLO, you");
    const after = await cache.open(id("a"), pull);
    expect(pulls).toBe(2);
    expect(await readFile(join(after.dir, "sub/a.txt"), "utf8")).toBe("hello");
  });

  it("heals files of its own where jobs have links to the old ones (I1)", async () => {
    const cache = cacheOf();
    const files = ["right.txt", "wrong.txt"].map((path) => ({
      path,
      size: 5,
      shards: ["0".repeat(64)],
    }));
    const manifest = v.parse(ArtifactManifest, { ...emptyManifest("digits"), files });
    const found: string[] = [];
    const fill = async (into: string) => {
      for (const name of await readdir(into)) found.push(name);
      await writeFile(join(into, "wrong.txt.part"), "right");
      await rename(join(into, "wrong.txt.part"), join(into, "wrong.txt"));
      if (found.length === 0) await writeFile(join(into, "right.txt"), "right");
      return { bytes: 10, seconds: 0.1, sources: { s3: 10 }, manifest };
    };
    const before = await cache.open(artifactId(manifest), fill);
    const ofJob = join(dir, "of-a-job");
    await link(join(before.dir, "right.txt"), ofJob);
    await chmod(join(before.dir, "wrong.txt"), 0o644);
    await writeFile(join(before.dir, "wrong.txt"), "WRONG");
    const after = await cache.open(artifactId(manifest), fill);
    expect(found).toEqual(["right.txt", "wrong.txt"]);
    await chmod(ofJob, 0o644);
    await writeFile(ofJob, "other");
    expect(await readFile(join(after.dir, "right.txt"), "utf8")).toBe("right");
  });

  it("keeps nothing that a job has added, once no other job reads the tree", async () => {
    const cache = cacheOf();
    const first = await cache.open(id("a"), pull);
    const reader = await cache.open(id("a"), pull);
    await chmod(first.dir, 0o755);
    await writeFile(join(first.dir, "added.txt"), "mine");
    first.release();
    const third = await cache.open(id("a"), pull);
    expect(await readFile(join(reader.dir, "sub/a.txt"), "utf8")).toBe("hello");
    reader.release();
    third.release();
    const alone = await cache.open(id("a"), pull);
    expect(await readdir(alone.dir)).toEqual(["sub"]);
    alone.release();
    expect((await cache.open(id("a"), pull)).sources).toEqual({ cache: 100 });
  });

  it("removes the least recently used when it is full, never what is in use", async () => {
    const cache = cacheOf(250);
    const a = await cache.open(id("a"), pull);
    const b = await cache.open(id("b"), pull);
    b.release();
    const c = await cache.open(id("c"), pull);
    c.release();
    expect(await kept()).toEqual(["a", "c"]);
    a.release();
    const d = await cache.open(id("d"), pull);
    d.release();
    expect(await kept()).toEqual(["c", "d"]);
  });

  it("does not take a pull that failed for an artifact", async () => {
    const cache = cacheOf();
    const failing = cache.open(id("a"), async (into) => {
      await mkdir(into, { recursive: true });
      throw new Error("broken off");
    });
    await expect(failing).rejects.toThrow("broken off");
    expect((await cache.open(id("a"), pull)).sources).toEqual({ s3: 100 });
  });

  it("lists what is whole, shows it to readers, and keeps what they read", async () => {
    const cache = cacheOf(150);
    let changes = 0;
    const off = cache.onChange(() => (changes += 1));
    expect(await cache.hold(id("a"))).toBeUndefined();
    const manifest = emptyManifest("digits");
    const empty = artifactId(manifest);
    (await cache.open(empty, pull)).release();
    const held = await cache.hold(empty);
    expect(held).toMatchObject({ bytes: 100, manifest });
    (await cache.open(id("b"), pull)).release();
    expect((await cache.list()).map(({ artifact }) => artifact)).toEqual([id("b"), empty]);
    held?.release();
    expect(changes).toBe(2);
    off();
  });

  it("does not serve what a reader found damaged until it was pulled again", async () => {
    const cache = cacheOf();
    const empty = artifactId(emptyManifest("digits"));
    (await cache.open(empty, pull)).release();
    cache.damaged(empty);
    expect(await cache.hold(empty)).toBeUndefined();
    expect(await cache.list()).toEqual([]);
    (await cache.open(empty, pull)).release();
    expect(pulls).toBe(2);
    (await cache.hold(empty))?.release();
    expect(await cache.list()).toHaveLength(1);
  });
});

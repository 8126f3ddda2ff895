import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Tree, baseOf, noise } from "../delta/match.fixture.ts";
import type { ArtifactId, ArtifactManifest } from "../protocol/index.ts";
import { lockDestination } from "./destination.ts";
import { heldInMemory } from "./memory-source.fixture.ts";
import { pullTree } from "./pull-tree.ts";
import type { Source } from "./source.ts";
import { TreeKeeper } from "./tree-keeper.ts";

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waybill-pull-"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

const artifact = "ab".repeat(32) as ArtifactId;
const SHARD_BYTES = 16 * 1024;

function manifestOf(tree: Tree): ArtifactManifest {
  return baseOf(tree, SHARD_BYTES, "packed").manifest;
}

describe("a tree that is pulled", () => {
  it("gets the modes of its manifest, also where a right file is there already", async () => {
    const tree = { open: noise(10, 1), secret: noise(20, 2), "tool.sh": noise(30, 3) };
    const manifest = manifestOf(tree);
    const modes = [undefined, 0o600, 0o750];
    const files = manifest.files.map((file, at) => ({
      ...file,
      ...(modes[at] === undefined ? {} : { mode: modes[at] }),
      ...(file.path === "tool.sh" ? { executable: true as const } : {}),
    }));
    const { source } = heldInMemory(tree, manifest);
    const pull = () =>
      pullTree({ artifact, manifest: { ...manifest, files }, dir, sources: [() => source] });
    const mode = (name: string) => statSync(join(dir, name)).mode & 0o777;
    await pull();
    expect([mode("secret"), mode("tool.sh")]).toEqual([0o600, 0o750]);
    chmodSync(join(dir, "secret"), 0o644);
    chmodSync(join(dir, "tool.sh"), 0o600);
    await pull();
    expect([mode("secret"), mode("tool.sh")]).toEqual([0o600, 0o750]);
    expect(mode("open") & 0o111).toBe(0);
  });

  it("fetches no shard of zeros, and leaves holes where the file system has them", async () => {
    const MIB = 1024 * 1024;
    const big = new Uint8Array(4 * MIB + 5);
    big.set(noise(100, 4), MIB);
    big.set([1, 2, 3], 4 * MIB);
    const tree = { "sparse.bin": big, "zeros.bin": new Uint8Array(2 * MIB) };
    const { manifest } = baseOf(tree, SHARD_BYTES);
    const { map, source, askedBytes } = heldInMemory(tree, manifest);
    const { bytes, sources } = await pullTree({ artifact, manifest, dir, sources: [() => source] });
    expect(askedBytes()).toBe(SHARD_BYTES + 5);
    expect([bytes, sources.peer]).toEqual([map.bytes, SHARD_BYTES + 5]);
    expect(readFileSync(join(dir, "sparse.bin")).equals(big)).toBe(true);
    expect(readFileSync(join(dir, "zeros.bin")).equals(tree["zeros.bin"])).toBe(true);
    expect(statSync(join(dir, "zeros.bin")).blocks * 512).toBeLessThan(MIB);
    expect(readdirSync(dir)).toEqual(["sparse.bin", "zeros.bin"]);
  });

  it("does not follow a link on the way to a file, nor one in its own folder's place", async () => {
    const tree = { "sub/x": noise(10, 1), y: noise(10, 2) };
    const manifest = manifestOf(tree);
    const { source } = heldInMemory(tree, manifest);
    const outside = join(dir, "outside");
    const into = join(dir, "into");
    mkdirSync(outside);
    mkdirSync(into);
    const pull = async () =>
      pullTree({ artifact, manifest, dir: into, sources: [() => source], overwrite: true });
    symlinkSync(outside, join(into, "sub"));
    await expect(pull()).rejects.toMatchObject({ code: "conflict" });
    await expect(pull()).rejects.toThrow(
      "into/sub is in the way: it is a link, which is not followed",
    );
    rmSync(join(into, "sub"));
    symlinkSync(outside, join(into, ".waybill"));
    await expect(pull()).rejects.toThrow(".waybill is in the way");
    expect(readdirSync(outside)).toEqual([]);
    rmSync(join(into, ".waybill"));
    writeFileSync(join(outside, "y"), "theirs");
    symlinkSync(join(outside, "y"), join(into, "y"));
    await pull();
    expect(readFileSync(join(outside, "y"), "utf8")).toBe("theirs");
    expect(readFileSync(join(into, "y")).equals(tree.y)).toBe(true);
  });
});

describe("a pull that was cut off", () => {
  it("I2: fetches no small file again that was written but not yet put in place", async () => {
    const tree = Object.fromEntries(
      Array.from({ length: 200 }, (_, at) => [
        `f${String(at).padStart(3, "0")}`,
        noise(500, at + 1),
      ]),
    );
    const manifest = manifestOf(tree);
    const { map, source, askedBytes } = heldInMemory(tree, manifest);
    const keeper = await TreeKeeper.open(map, dir, artifact);
    const first = { first: 0, count: 120 };
    for await (const piece of source.fetch(first, { signal: new AbortController().signal })) {
      await keeper.keep(first, piece);
    }
    await keeper.close();
    askedBytes();
    // Nothing is flushed yet, so nothing has its name (I1, also after a power loss).
    expect(readdirSync(dir)).toEqual([".waybill"]);
    await pullTree({ artifact, manifest, dir, sources: [() => source] });
    expect(askedBytes()).toBe(80 * 500);
    expect(readdirSync(dir)).toEqual(Object.keys(tree));
    for (const [name, bytes] of Object.entries(tree)) {
      expect(readFileSync(join(dir, name)).equals(bytes)).toBe(true);
    }
  });
});

describe("what lies in the destination", () => {
  it("I1: is checked where an unfinished file should hold zeros, and put right without fetching", async () => {
    const big = new Uint8Array(10 * SHARD_BYTES);
    big.set(noise(SHARD_BYTES, 1), 0);
    big.set(noise(SHARD_BYTES, 2), 9 * SHARD_BYTES);
    const tree = { "sparse.bin": big };
    const { manifest } = baseOf(tree, SHARD_BYTES);
    const { map, source, askedBytes } = heldInMemory(tree, manifest);
    const keeper = await TreeKeeper.open(map, dir, artifact);
    await keeper.keep({ first: 0, count: 1 }, big.subarray(0, SHARD_BYTES));
    await keeper.close();
    const part = keeper.partPath(0);
    const file = openSync(part, "r+");
    writeSync(file, "not zeros", 3 * SHARD_BYTES + 5);
    // Holes behind the end are holes whatever was there.
    ftruncateSync(file, 6 * SHARD_BYTES + 7);
    closeSync(file);
    askedBytes();
    await pullTree({ artifact, manifest, dir, sources: [() => source] });
    expect(readFileSync(join(dir, "sparse.bin")).equals(big)).toBe(true);
    expect(askedBytes()).toBe(SHARD_BYTES);
  });

  it("I1: bytes behind the checked ones of an unfinished file are cut off", async () => {
    const tree = { small: noise(500, 1), other: noise(600, 2) };
    const manifest = manifestOf(tree);
    const { map, source } = heldInMemory(tree, manifest);
    const keeper = await TreeKeeper.open(map, dir, artifact);
    const first = { first: 0, count: 1 };
    for await (const piece of source.fetch(first, { signal: new AbortController().signal })) {
      await keeper.keep(first, piece);
    }
    await keeper.close();
    appendFileSync(keeper.partPath(0), "more");
    await pullTree({ artifact, manifest, dir, sources: [() => source] });
    for (const [name, bytes] of Object.entries(tree)) {
      expect(readFileSync(join(dir, name)).equals(bytes)).toBe(true);
    }
  });

  it("and appeared during the pull is not replaced, unless overwriting was asked for", async () => {
    const tree = { a: noise(100, 1), b: noise(100, 2) };
    const manifest = manifestOf(tree);
    const { source } = heldInMemory(tree, manifest);
    const meanwhile: Source = {
      ...source,
      fetch: (run, options) => {
        writeFileSync(join(dir, "b"), "theirs");
        return source.fetch(run, options);
      },
    };
    const pull = async (overwrite: boolean) =>
      pullTree({ artifact, manifest, dir, overwrite, sources: [() => meanwhile] });
    await expect(pull(false)).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringMatching(/b appeared while it was being pulled$/),
    });
    expect(readFileSync(join(dir, "b"), "utf8")).toBe("theirs");
    await pull(true);
    expect(readFileSync(join(dir, "b")).equals(tree.b)).toBe(true);
  });

  it("is one artifact's at a time", async () => {
    const one = { x: noise(100, 1) };
    const two = { x: noise(100, 2) };
    const first = heldInMemory(one, manifestOf(one));
    const second = heldInMemory(two, manifestOf(two));
    const taken: unknown[] = [];
    const watched: Source = {
      ...first.source,
      fetch: (run, options) => {
        taken.push(lockDestination(dir, { waitMs: 0 }).catch((error: unknown) => error));
        return first.source.fetch(run, options);
      },
    };
    await pullTree({ artifact, manifest: manifestOf(one), dir, sources: [() => watched] });
    expect(await taken[0]).toMatchObject({ code: "conflict" });
    const other = {
      artifact: "cd".repeat(32) as ArtifactId,
      manifest: manifestOf(two),
      dir,
      sources: [() => second.source],
    };
    await expect(pullTree(other)).rejects.toThrow("holds other content under x");
    expect(readdirSync(dir)).toEqual(["x"]);
    expect(readFileSync(join(dir, "x")).equals(one.x)).toBe(true);
  });
});

describe("a disk", () => {
  /** A small file system of its own; undefined where this user may not mount. */
  const mounted = (options: string): (() => void) | undefined => {
    const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", dir]);
    return status === 0 ? () => void spawnSync("umount", ["-l", dir]) : undefined;
  };

  it("that is full ends the pull with words, and the next one goes on", async ({ skip }) => {
    const unmount = mounted("size=3m");
    if (unmount === undefined) return skip("mounting needs root");
    try {
      const tree = { "big.bin": noise(2 * 1024 * 1024, 5), small: noise(100, 6) };
      const { manifest } = baseOf(tree, SHARD_BYTES);
      const { map, source, askedBytes } = heldInMemory(tree, manifest);
      writeFileSync(join(dir, "other"), noise(2 * 1024 * 1024, 7));
      const pull = () => pullTree({ artifact, manifest, dir, sources: [() => source] });
      await expect(pull()).rejects.toMatchObject({
        code: "storage_full",
        hint: expect.stringContaining("run the same command again"),
      });
      expect(existsSync(join(dir, "big.bin"))).toBe(false);
      rmSync(join(dir, "other"));
      askedBytes();
      await pull();
      expect(askedBytes()).toBeLessThan(map.bytes);
      expect(readFileSync(join(dir, "big.bin")).equals(tree["big.bin"])).toBe(true);
    } finally {
      unmount();
    }
  });

  it("that is read-only is named", async ({ skip }) => {
    const unmount = mounted("size=1m,ro");
    if (unmount === undefined) return skip("mounting needs root");
    try {
      const tree = { small: noise(100, 6) };
      const manifest = manifestOf(tree);
      const { source } = heldInMemory(tree, manifest);
      const pull = pullTree({ artifact, manifest, dir, sources: [() => source] });
      await expect(pull).rejects.toMatchObject({
        code: "local_io",
        message: expect.stringContaining("its disk is read-only"),
      });
    } finally {
      unmount();
    }
  });
});

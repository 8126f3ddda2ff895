import { mkdir, mkdtemp, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as v from "valibot";
import { artifactId, scanTree } from "@waybill/sdk/artifact";
import { ArtifactName } from "@waybill/sdk/protocol";
import { hashTree } from "@waybill/sdk/transfer";
import { ArtifactCache } from "../cache/artifact-cache.ts";
import { removeTree } from "../data-dir/data-dir.ts";
import { type PushedTree, keepOutput } from "./keep-output.ts";

let dir: string;
let cache: ArtifactCache;
let lines: string[];
const log = (_: string, line: string) => lines.push(line);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-keep-"));
  lines = [];
  cache = new ArtifactCache({ cacheDir: join(dir, "cache"), maxBytes: 1_000_000, log });
  await mkdir(join(dir, "output", "sub"), { recursive: true });
  await writeFile(join(dir, "output", "weights.bin"), Buffer.alloc(100_000, 7));
  await writeFile(join(dir, "output", "sub", "config.json"), "{}");
});

afterEach(async () => {
  await cache.close();
  await removeTree(dir);
});

async function pushed(): Promise<PushedTree> {
  const name = v.parse(ArtifactName, "digits");
  const { manifest } = await hashTree(await scanTree(join(dir, "output")), { name });
  return { artifact: artifactId(manifest), manifest, dir: join(dir, "output") };
}

describe("what a worker has trained", () => {
  it("lies in its cache, linked, and stays when the job's folder goes", async () => {
    const tree = await pushed();
    const before = await stat(join(dir, "output", "weights.bin"));
    await keepOutput({ ...tree, cache, log });
    await removeTree(join(dir, "output"));
    const held = await cache.hold(tree.artifact);
    expect(held?.bytes).toBe(100_002);
    const kept = join(held?.dir ?? "", "weights.bin");
    expect((await stat(kept)).ino).toBe(before.ino);
    expect((await readFile(kept)).equals(Buffer.alloc(100_000, 7))).toBe(true);
    held?.release();
    const pull = () => Promise.reject(new Error("it was fetched"));
    const lease = await cache.open(tree.artifact, pull);
    expect(lease.sources).toEqual({ cache: 100_002 });
    lease.release();
  });

  it("is not kept when it is not what was pushed any more (I1)", async () => {
    const tree = await pushed();
    await writeFile(join(dir, "output", "weights.bin"), Buffer.alloc(100_000, 8));
    await keepOutput({ ...tree, cache, log });
    expect(await cache.list()).toEqual([]);
    expect(lines.join()).toMatch(/not kept: its files were changed/);
  });

  it("leaves no link to it behind when it is not kept", async () => {
    const tree = await pushed();
    const path = join(dir, "output", "weights.bin");
    await writeFile(path, Buffer.alloc(100_000, 8));
    await keepOutput({ ...tree, cache, log });
    expect((await stat(path)).nlink).toBe(1);
  });

  it("is kept although an earlier transfer of it broke off", async () => {
    const tree = await pushed();
    const broken = cache.open(tree.artifact, async (into) => {
      await writeFile(join(into, "weights.bin"), "half of it");
      throw new Error("the connection broke");
    });
    await expect(broken).rejects.toThrow("the connection broke");
    await keepOutput({ ...tree, cache, log });
    expect(lines).toEqual([]);
    expect((await cache.verify(tree.artifact))?.differences).toEqual([]);
  });

  it("is not kept when somebody writes to it after it was verified (I1)", async () => {
    const tree = await pushed();
    const late: Pick<ArtifactCache, "open"> = {
      open: (artifact, pull, signal) =>
        cache.open(
          artifact,
          async (into, context) => {
            const pulled = await pull(into, context);
            await writeFile(join(dir, "output", "weights.bin"), Buffer.alloc(100_000, 9));
            return pulled;
          },
          signal,
        ),
    };
    await keepOutput({ ...tree, cache: late, log });
    expect(await cache.list()).toEqual([]);
    expect(lines.join()).toMatch(/not kept: its files were changed/);
  });
});

import { chmod, mkdir, mkdtemp, open, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { blake3Hex } from "../platform/index.ts";
import {
  type ArtifactManifest,
  ArtifactManifest as Schema,
  decodeValue,
} from "../protocol/index.ts";
import { compareTree } from "./compare-tree.ts";

const SHARD = 1024 * 1024;
const big = Buffer.alloc(5 * SHARD + 17, "waybill");
const tree = new Map<string, Buffer>([
  ["a.txt", Buffer.from("hello")],
  ["empty", Buffer.alloc(0)],
  ["run.sh", Buffer.from("#!/bin/sh\n")],
  ["sub/big.bin", big],
]);

function manifestOf(files: ReadonlyMap<string, Buffer>): ArtifactManifest {
  const entries = [...files].map(([name, bytes]) => ({
    path: name,
    size: bytes.length,
    ...(name === "run.sh" ? { executable: true } : {}),
    shards: Array.from({ length: Math.ceil(bytes.length / SHARD) }, (_, at) =>
      blake3Hex(bytes.subarray(at * SHARD, (at + 1) * SHARD)),
    ),
  }));
  const manifest = { format: 1, name: "t", layout: "plain", shardBytes: SHARD, files: entries };
  return decodeValue(Schema, manifest, "the manifest");
}

describe("a folder against a manifest", () => {
  let dir: string;
  const manifest = manifestOf(tree);
  const bytes = manifest.files.reduce((sum, file) => sum + file.size, 0);
  beforeEach(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), "waybill-compare-"));
    await mkdir(path.join(dir, "sub"));
    for (const [name, content] of tree) await writeFile(path.join(dir, name), content);
    await chmod(path.join(dir, "run.sh"), 0o755);
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("is found right, with every byte read", async () => {
    const seen: number[] = [];
    const options = { onProgress: (tick: { bytes: number }) => seen.push(tick.bytes) };
    expect(await compareTree(dir, manifest, options)).toEqual({
      differences: [],
      bytes,
      warnings: [],
    });
    expect(seen.at(-1)).toBe(bytes);
  });

  it("names the place of one changed byte in a big file", async () => {
    const file = await open(path.join(dir, "sub", "big.bin"), "r+");
    await file.write(Buffer.from("X"), 0, 1, 4 * SHARD + 5);
    await file.close();
    expect((await compareTree(dir, manifest)).differences).toEqual([
      {
        path: "sub/big.bin",
        kind: "differs",
        detail: `other content in bytes ${4 * SHARD}–${5 * SHARD - 1}`,
      },
    ]);
  });

  it("names what is missing, extra, of another size or mode, in the order of the paths", async () => {
    await writeFile(path.join(dir, "a.txt"), "hello!");
    await rm(path.join(dir, "empty"));
    await chmod(path.join(dir, "run.sh"), 0o644);
    await writeFile(path.join(dir, "z"), "");
    const { differences } = await compareTree(dir, manifest);
    expect(differences).toEqual([
      { path: "a.txt", kind: "differs", detail: "has 6 bytes, not 5" },
      { path: "empty", kind: "missing" },
      { path: "run.sh", kind: "differs", detail: "is not executable" },
      { path: "z", kind: "extra" },
    ]);
  });

  it("misses everything in an empty folder", async () => {
    await rm(dir, { recursive: true });
    await mkdir(dir);
    const { differences } = await compareTree(dir, manifest);
    expect(differences.map(({ kind }) => kind)).toEqual(Array(4).fill("missing"));
  });

  it("follows no link out of the folder", async () => {
    await rm(path.join(dir, "a.txt"));
    await symlink("/etc/hostname", path.join(dir, "a.txt"));
    const { differences, warnings } = await compareTree(dir, manifest);
    expect(differences).toEqual([{ path: "a.txt", kind: "missing" }]);
    expect(warnings.join()).toContain("a.txt");
  });

  it("takes a single file for the folder it lies in", async () => {
    const one = manifestOf(new Map([["a.txt", Buffer.from("hello")]]));
    expect((await compareTree(path.join(dir, "a.txt"), one)).differences).toEqual([]);
  });

  it("says what is not there at all", async () => {
    await expect(compareTree(path.join(dir, "no"), manifest)).rejects.toMatchObject({
      code: "local_io",
    });
  });
});

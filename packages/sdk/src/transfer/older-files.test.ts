import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { artifactId, manifestPieces } from "../artifact/index.ts";
import { type Tree, baseOf, concat, noise, withoutCrcs } from "../delta/match.fixture.ts";
import type { ArtifactManifest } from "../protocol/index.ts";
import { heldInMemory } from "./memory-source.fixture.ts";
import { OlderFilesSource, olderVersions } from "./older-files-source.ts";
import { pullTree } from "./pull-tree.ts";
import { ShardSet } from "./shard-set.ts";
import { runSourceTests } from "./source.conformance.ts";

const SHARD_BYTES = 4096;
let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waybill-older-"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function layOut(root: string, tree: Tree): void {
  for (const [path, bytes] of Object.entries(tree)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
  }
}

/** Puts a version into a cache, with its manifest, as a worker does (`apart`) or not. */
function cached(tree: Tree, apart = false): void {
  const { manifest } = baseOf(tree, SHARD_BYTES);
  const place = join(dir, "cache", artifactId(manifest));
  layOut(apart ? join(place, "files") : place, tree);
  if (apart) writeFileSync(join(place, "ready.json"), "{}");
  writeFileSync(join(place, "artifact.json"), Buffer.concat([...manifestPieces(manifest)]));
}

async function pull(tree: Tree, manifest: ArtifactManifest, overwrite = false) {
  const into = join(dir, "into");
  const { source, askedBytes } = heldInMemory(tree, manifest);
  const cache = olderVersions(join(dir, "cache"), "base");
  const artifact = artifactId(manifest);
  const sources = [cache, () => source];
  await pullTree({ artifact, manifest, dir: into, sources, overwrite });
  for (const [path, bytes] of Object.entries(tree)) {
    expect(readFileSync(join(into, path)).equals(bytes)).toBe(true);
  }
  return askedBytes();
}

runSourceTests("files of older versions", async (sample) => {
  const root = mkdtempSync(join(tmpdir(), "waybill-older-"));
  const tree = Object.fromEntries(sample.files);
  layOut(root, tree);
  const places = new Map(
    Array.from({ length: sample.map.count }, (_, shard) => {
      const { file, offset } = sample.map.locate(shard);
      return [shard, { path: join(root, sample.map.file(file).path), offset }];
    }),
  );
  const source = await OlderFilesSource.open(sample.map, places);
  if (source === undefined) throw new Error("nothing could be opened");
  return {
    source,
    close: async () => {
      await source.close();
      rmSync(root, { recursive: true });
    },
  };
});

const old = noise(50 * SHARD_BYTES + 100, 1);

describe("an older version", () => {
  it("in a cache gives what is the same, in place or shifted, in whatever file", async () => {
    cached({ "a.bin": old, "b.bin": noise(3 * SHARD_BYTES, 2) });
    const tree = {
      "a.bin": concat(noise(100, 3), old),
      "c.bin": noise(3 * SHARD_BYTES, 2),
    };
    const asked = await pull(tree, baseOf(tree, SHARD_BYTES).manifest);
    // What was put in front, and the last shard, which is short.
    expect(asked).toBeLessThanOrEqual(2 * SHARD_BYTES);
  });

  it("in a worker's cache lies in a folder of its own", async () => {
    cached({ "a.bin": old }, true);
    const tree = { "a.bin": concat(old.subarray(0, 20 * SHARD_BYTES), noise(10, 4)) };
    expect(await pull(tree, baseOf(tree, SHARD_BYTES).manifest)).toBe(10);
  });

  it("without weak sums in the new manifest gives what lies at multiples of the shard", async () => {
    cached({ "a.bin": old });
    const tree = { "a.bin": concat(noise(SHARD_BYTES, 5), old) };
    const { manifest } = withoutCrcs(baseOf(tree, SHARD_BYTES));
    expect(await pull(tree, manifest)).toBe(SHARD_BYTES);
  });

  it("that was changed behind its manifest costs another source's bytes, and nothing wrong", async () => {
    cached({ "a.bin": old });
    const path = join(
      dir,
      "cache",
      artifactId(baseOf({ "a.bin": old }, SHARD_BYTES).manifest),
      "a.bin",
    );
    const damaged = Buffer.from(old);
    damaged.fill(0, 5 * SHARD_BYTES, 6 * SHARD_BYTES);
    writeFileSync(path, damaged.subarray(0, 40 * SHARD_BYTES));
    const tree = { "a.bin": concat(old, noise(10, 6)) };
    const asked = await pull(tree, baseOf(tree, SHARD_BYTES).manifest);
    expect(asked).toBe(11 * SHARD_BYTES + 110);
  });

  it("in the destination gives its shifted bytes to the file that replaces it", async () => {
    const into = join(dir, "into");
    layOut(into, { "a.bin": old, "b.bin": noise(8 * SHARD_BYTES, 7) });
    const tree = {
      // What was in one file is in the other now, and each is replaced while it gives its bytes.
      "a.bin": concat(noise(33, 8), noise(8 * SHARD_BYTES, 7)),
      "b.bin": concat(
        old.subarray(0, 3 * SHARD_BYTES),
        noise(50, 9),
        old.subarray(3 * SHARD_BYTES),
      ),
    };
    const asked = await pull(tree, baseOf(tree, SHARD_BYTES).manifest, true);
    expect(asked).toBeLessThanOrEqual(5 * SHARD_BYTES);
  });
});

describe("the places of older files", () => {
  it("make runs where shards follow each other in one file", async () => {
    layOut(dir, { x: old });
    const { map } = heldInMemory({ x: old }, baseOf({ x: old }, SHARD_BYTES).manifest);
    const path = join(dir, "x");
    const at = (shard: number, shift = 0) => ({ path, offset: shard * SHARD_BYTES + shift });
    const places = new Map([
      [3, at(3)],
      [4, at(4)],
      [5, at(5, 7)],
    ]);
    const source = await OlderFilesSource.open(map, places);
    expect(source?.shards().runs()).toEqual(ShardSet.of([{ first: 3, count: 3 }]).runs());
    expect([source?.runEnd(3), source?.runEnd(4), source?.runEnd(5)]).toEqual([5, 5, 6]);
    await source?.close();
  });
});

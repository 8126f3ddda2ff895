import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { LocalTreeSource, checkShards } from "./local-tree-source.ts";
import { type SampleArtifact, runSourceTests, sampleArtifact } from "./source.conformance.ts";

function layOut({ files }: SampleArtifact): string {
  const dir = mkdtempSync(join(tmpdir(), "waybill-local-"));
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), bytes);
  }
  return dir;
}

runSourceTests("a folder", async (sample) => {
  const dir = layOut(sample);
  return {
    source: new LocalTreeSource({ map: sample.map, dir }),
    close: async () => rmSync(dir, { recursive: true }),
  };
});

describe("a folder as a source", () => {
  it("offers the files that are there with the right size", () => {
    const sample = sampleArtifact("plain");
    const dir = layOut(sample);
    rmSync(join(dir, "a/small.txt"));
    truncateSync(join(dir, "z/exact.bin"), 100);
    const source = new LocalTreeSource({ map: sample.map, dir });
    expect(source.shards().runs()).toEqual([{ first: 0, count: 11 }]);
    rmSync(dir, { recursive: true });
  });

  it("is checked shard by shard: the right ones of a damaged, shortened file are known", async () => {
    const sample = sampleArtifact("plain");
    const dir = layOut(sample);
    const path = join(dir, "a/big.bin");
    const bytes = Buffer.from(sample.files.get("a/big.bin") ?? []);
    bytes.writeUInt8(bytes.readUInt8(3000) ^ 1, 3000);
    writeFileSync(path, bytes.subarray(0, 7000));
    const right = await checkShards(sample.map, path, [{ first: 0, count: 11 }]);
    expect(right.runs()).toEqual([
      { first: 0, count: 2 },
      { first: 3, count: 3 },
    ]);
    rmSync(dir, { recursive: true });
  });
});

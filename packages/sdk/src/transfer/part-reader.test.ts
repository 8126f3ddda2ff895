import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { array, assert, asyncProperty, constantFrom, nat, oneof, record } from "fast-check";
import { describe, expect, it } from "vitest";
import { scanTree, storedObjects } from "../artifact/index.ts";
import { blake3Hex, crc32 } from "../platform/index.ts";
import { noise, writeTree } from "../testing/index.ts";
import { PartReader, ShardHasher, crc32Base64 } from "./part-reader.ts";
import { type TreeLayout, partsOf } from "./upload-plan.ts";

const signal = new AbortController().signal;
/** Above this, files are read by handle and parts come from the pool. */
const BIG = 256 * 1024;

describe("a reader of parts", () => {
  it("reads every byte once, in order, whatever the sizes of files, parts and shards", async () => {
    const size = oneof(constantFrom(0, 1, 7000, BIG, BIG + 1, 1_500_000), nat(30_000));
    const shape = record({
      sizes: array(size, { minLength: 1, maxLength: 8 }),
      packed: constantFrom(true, false),
      partBytes: constantFrom(5000, 100_000, 1_100_000),
      shardBytes: constantFrom(1024, 4096, 700_000),
    });
    await assert(
      asyncProperty(shape, async ({ sizes, packed, partBytes, shardBytes }) => {
        const root = mkdtempSync(join(tmpdir(), "waybill-parts-"));
        try {
          const content = sizes.map((bytes, at) => noise(bytes, at + 1));
          writeTree(root, Object.fromEntries(content.map((bytes, at) => [`f${at}`, bytes])));
          const scan = await scanTree(root);
          const objects = storedObjects(packed ? "packed" : "plain", scan.files);
          const parts = objects.flatMap((object) => partsOf(object, partBytes));
          const layout = { layout: packed ? "packed" : "plain", shardBytes, partBytes, parts };
          const reader = new PartReader(scan, layout as unknown as TreeLayout);
          const pieces: Buffer[] = [];
          for (let at = 0; at < parts.length; at += 2) {
            // Two at a time, as the runner does.
            const pair = parts.slice(at, at + 2).map(async (part) => reader.read(part, signal));
            for (const read of await Promise.all(pair)) {
              expect(read.crc32).toBe(crc32Base64(crc32(read.body)));
              pieces.push(Buffer.from(read.body));
              read.release();
            }
          }
          await reader.close();
          expect(Buffer.concat(pieces).equals(Buffer.concat(content))).toBe(true);
          const digests = content.map((bytes) =>
            Array.from({ length: Math.ceil(bytes.length / shardBytes) }, (_, shard) =>
              blake3Hex(bytes.subarray(shard * shardBytes, (shard + 1) * shardBytes)),
            ),
          );
          expect(reader.files().map((file) => file.shards)).toEqual(digests);
        } finally {
          rmSync(root, { recursive: true });
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe("a hasher of shards", () => {
  it("cuts pieces that know nothing of shards", () => {
    const bytes = noise(10_000);
    const hasher = new ShardHasher(1, 1024);
    for (let at = 0, step = 1; at < bytes.length; at += step, step = (step * 7) % 3001) {
      hasher.take(0, at, bytes.subarray(at, at + step), bytes.length);
    }
    const whole = new ShardHasher(1, 1024);
    whole.take(0, 0, bytes, bytes.length);
    expect(hasher.digests(0)).toEqual(whole.digests(0));
    expect(whole.digests(0)[9]).toBe(blake3Hex(bytes.subarray(9216)));
  });
});

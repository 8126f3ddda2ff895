// docs/protocol/cache.md: processes on one cache that are killed at random. `npm run bench:cache` does it for ten minutes.
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { removeTree } from "../../packages/waybill/src/worker/data-dir/data-dir.ts";
import { stressCache } from "../support/cache-stress.ts";

let dir: string | undefined;

afterEach(async () => {
  if (dir !== undefined) await removeTree(dir);
});

describe("a cache that processes share", () => {
  it("serves no wrong byte, keeps to its cap and keeps nothing of the killed, for 20 s", async () => {
    dir = await mkdtemp(join(tmpdir(), "waybill-stress-"));
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`seed ${seed}`);
    const result = await stressCache({ dir, seed, processes: 4, forMs: 20_000, killMs: 2500 });
    expect(result.faults).toEqual([]);
    expect(result.counts["opened"]).toBeGreaterThan(0);
    expect(result.kills).toBeGreaterThan(0);
  }, 90_000);
});

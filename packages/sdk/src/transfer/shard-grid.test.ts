import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ShardGrid } from "./shard-grid.ts";

const KIB = 1024;

describe("the shards of an object that is stored as frames", () => {
  it("lie end to end, cut at multiples of their size in each file", () => {
    const files = [{ size: 2500 }, { size: 0 }, { size: 1000 }];
    const grid = new ShardGrid(files, { shardBytes: KIB, unitBytes: KIB });
    const starts = Array.from({ length: grid.count + 1 }, (_, shard) => grid.start(shard));
    expect(starts).toEqual([0, 1024, 2048, 2500, 3500]);
    expect(grid.groupEnd(0, 2100)).toBe(2);
    expect(grid.groupEnd(2, 10)).toBe(3);
  });

  it("may begin part n when they are the first at or behind (n - 1) units", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 5000 }), { minLength: 1, maxLength: 40 }),
        fc.constantFrom(256, 512, 1024),
        fc.constantFrom(512, 1024, 3000),
        (sizes, shardBytes, unitBytes) => {
          const grid = new ShardGrid(
            sizes.map((size) => ({ size })),
            { shardBytes, unitBytes },
          );
          const firstFrom = (offset: number) => {
            let shard = 0;
            while (shard < grid.count && grid.start(shard) < offset) shard += 1;
            return shard;
          };
          for (let shard = 0; shard < grid.count; shard++) {
            const part = grid.partAt(shard);
            const begins = part === undefined ? shard : firstFrom((part - 1) * unitBytes);
            expect(begins).toBe(shard);
            expect(grid.isEdge(shard)).toBe(part !== undefined);
          }
          expect(grid.isEdge(grid.count)).toBe(true);
          expect(grid.partAt(0)).toBe(grid.count > 0 ? 1 : undefined);
        },
      ),
    );
  });
});

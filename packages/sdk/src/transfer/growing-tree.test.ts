import { describe, expect, it } from "vitest";
import type { ArtifactId } from "../protocol/index.ts";
import { mapOf } from "../testing/download-machine.ts";
import { GrowingTree } from "./growing-tree.ts";
import { ShardSet } from "./shard-set.ts";

const artifact = "ab".repeat(32) as ArtifactId;
const shards = (first: number, count: number) => ShardSet.of([{ first, count }]);

function growing() {
  return new GrowingTree({ artifact, map: mapOf(8), paths: () => ["part", "whole"] });
}

describe("a tree that grows", () => {
  it("I1: lets who waits for a shard go on when that has matched, and not before", async () => {
    const tree = growing();
    const { signal } = new AbortController();
    const past: number[] = [];
    const wait = async (shard: number) => {
      await tree.until(shard, signal);
      past.push(shard);
    };
    const waiting = [wait(1), wait(5), wait(1)];
    tree.add(shards(0, 3));
    await Promise.resolve();
    await Promise.all([waiting[0], waiting[2]]);
    expect(past).toEqual([1, 1]);
    tree.add(shards(4, 2));
    await waiting[1];
    await tree.until(5, signal);
    expect(tree.done.runs()).toEqual([
      { first: 0, count: 3 },
      { first: 4, count: 2 },
    ]);
  });

  it("lets who does not want to wait any more go with their reason", async () => {
    const tree = growing();
    const gone = new AbortController();
    const waiting = tree.until(1, gone.signal);
    gone.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    await expect(tree.until(1, gone.signal)).rejects.toThrow("enough");
  });

  it("tells what is wanted first for as long as somebody wants it, and nothing of what is there", () => {
    const tree = growing();
    let told = 0;
    const off = tree.onUrgent(() => (told += 1));
    const unwant = [tree.want({ first: 2, count: 2 }), tree.want({ first: 3, count: 2 })];
    expect(tree.urgent().runs()).toEqual([{ first: 2, count: 3 }]);
    unwant[0]?.();
    unwant[0]?.();
    expect([tree.urgent().runs(), told]).toEqual([[{ first: 3, count: 2 }], 3]);
    off();
    tree.add(shards(0, 8));
    tree.want({ first: 0, count: 1 });
    expect([tree.urgent().size, told]).toEqual([2, 3]);
  });
});
